/**
 * CoreUpdate's objects as Go's encoding/json fills the structs of updateservicectl's client/update/v1: unknown fields
 * are passed over, absent ones are zero, and a value of another type is an error. `int64` fields have the tag `,string`:
 * a number there is an error. For tests.
 */
import * as z from "zod";

const text = z.string().default("");
const flag = z.boolean().default(false);
const int32 = z.int().default(0);
const float = z.number().default(0);
const int64 = z
  .string()
  .regex(/^-?\d+$/)
  .default("0")
  .transform(BigInt);
const listOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item).default([]) });

export const AdminUser = z.object({ token: text, user: text });
export const AdminListUsersResp = z.object({ users: z.array(AdminUser).default([]) });
export const App = z.object({ description: text, id: text, label: text });
export const AppListResp = listOf(App);
export const AppChannel = z.object({
  ...{ appId: text, dateCreated: text, label: text, publish: flag, upstream: text, version: text },
});
export const ChannelListResp = listOf(AppChannel);
export const ChannelRequest = z.object({ appId: text, label: text, publish: flag, version: text });
export const Group = z.object({
  ...{ appId: text, channelId: text, id: text, label: text, oemBlacklist: text },
  ...{ rolloutActive: flag, updatePercent: float, updatesPaused: flag },
});
export type Group = z.output<typeof Group>;
export const GroupList = listOf(Group);
export const GroupPercent = z.object({ appId: text, id: text, updatePercent: float });
export const Frame = z.object({ duration: int64, percent: float });
export const Rollout = z.object({ appId: text, groupId: text, rollout: z.array(Frame).default([]) });
export const RolloutActive = z.object({ active: flag, appId: text, groupId: text });
const Values = z.object({ count: int64, timestamp: int64 });
const RequestsItem = z.object({
  result: text,
  type: text,
  values: z.array(Values).default([]),
  version: text,
});
export const GroupRequestsRollup = listOf(RequestsItem);
export const Package = z.object({
  ...{ appId: text, dateCreated: text, metadataSignatureRsa: text, metadataSize: text, releaseNotes: text },
  ...{ required: flag, sha1Sum: text, sha256Sum: text, size: text, url: text, version: text },
});
export const PackageList = z.object({ items: z.array(Package).default([]), total: int32 });
export const PublicPackageList = listOf(z.object({ AppId: text, packages: z.array(Package).default([]) }));
export const ClientUpdate = z.object({
  ...{ appId: text, clientId: text, errorCode: text, eventResult: text, eventType: text },
  ...{ groupId: text, lastSeen: text, oem: text, version: text },
});
export const ClientUpdateList = listOf(ClientUpdate);
export const ClientCountResp = z.object({ count: int32 });
export const AppVersionList = listOf(z.object({ appId: text, count: int32, groupId: text, version: text }));
const HistoryItem = z.object({
  ...{ dateTime: int64, errorCode: text, eventResult: text, eventType: text },
  ...{ groupId: text, installSource: text, version: text },
});
export const ClientHistoryResp = listOf(HistoryItem);
/** Its id is the one int64 without `,string`. */
export const Upstream = z.object({ id: z.int().default(0), label: text, url: text });
export const UpstreamListResp = listOf(Upstream);
export const UpstreamSyncResp = z.object({ detail: text, status: text });
export const GenerateUuidResp = z.object({ uuid: text });

/** What `googleapi.CheckResponse` makes an error of. */
export const ErrorReply = z.object({
  error: z.object({
    code: z.int(),
    message: z.string().min(1),
    errors: z.array(z.object({ reason: text, message: text })).default([]),
  }),
});
