/**
 * Objects of CoreUpdate's API as updateservicectl reads and writes them (its client/update/v1, which is generated from
 * the API's discovery document). Its Go structs leave out what is false, 0 or empty, so that absent means that; int64s
 * are strings of digits. What we don't know in a body is passed over, as the protocol's own server did.
 */
import * as z from "zod";
import { Problem } from "./problem.ts";

const Text = z.string().max(1024).default("");
const Flag = z.boolean().default(false);
/** The client of before 2015 sends numbers, and later ones strings. */
const Int64 = z.union([z.string().regex(/^-?\d{1,15}$/), z.int()]).transform(Number);

export const AppBody = z.object({ id: Text, label: Text, description: Text });
export const PackageBody = z.object({
  ...{ url: z.string().max(2048).default(""), size: Text, sha1Sum: Text, sha256Sum: Text, required: Flag },
  ...{ metadataSize: Text, metadataSignatureRsa: Text, releaseNotes: z.string().max(65_536).default("") },
});
export const ChannelBody = z.object({ appId: Text, label: Text, version: Text, publish: Flag });
export const GroupBody = z.object({
  ...{ appId: Text, id: Text, label: Text, channelId: Text, updatesPaused: Flag },
  updatePercent: z.number().optional(),
  // Of clients of before CoreUpdate 2.2.
  ...{ updateCount: Int64.optional(), updateInterval: Int64.optional() },
  /** OEMs with commas between. */
  oemBlacklist: z.string().max(4096).default(""),
  // What Slipway has otherwise.
  autoPause: Flag,
  ...{ errorThreshold: Int64.default(0), errorInterval: Int64.default(0) },
  ...{ dropThreshold: Int64.default(0), dropInterval: Int64.default(0) },
});
export const PercentBody = z.object({ updatePercent: z.number().default(0) });
const Frame = z.object({ duration: Int64.default(0), percent: z.number().default(0) });
/** Frames of a minute for a month. */
const Frames = z.array(Frame).max(50_000);
/** As the CLI sends it, and as the discovery document has it. */
export const RolloutBody = z.object({
  rollout: Frames.optional(),
  Rollout: z.object({ rollout: Frames.default([]) }).optional(),
});
export const ActiveBody = z.object({ active: Flag });
export const UpstreamBody = z.object({ url: z.string().max(2048).default(""), label: Text });

export type PackageBody = z.output<typeof PackageBody>;
export type ChannelBody = z.output<typeof ChannelBody>;
export type GroupBody = z.output<typeof GroupBody>;
/** `duration`: seconds. */
export type Frame = z.output<typeof Frame>;

/** Throws `Problem` 400. */
export function parseBody<S extends z.ZodType>(schema: S, body: Buffer): z.output<S> {
  let value: unknown;
  try {
    value = body.length === 0 ? {} : JSON.parse(body.toString());
  } catch {
    throw new Problem(400, "The body is no JSON.");
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new Problem(400, `${issue?.path.join(".") || "The body"}: ${issue?.message ?? "is not understood"}.`);
}

export interface App {
  id: string;
  label: string;
  description: string;
}

export interface Package {
  appId: string;
  version: string;
  url: string;
  size: string;
  sha1Sum?: string;
  sha256Sum: string;
  required: boolean;
  metadataSize?: string;
  metadataSignatureRsa?: string;
  releaseNotes?: string;
  dateCreated?: string;
}

export interface AppChannel {
  appId: string;
  label: string;
  version: string;
  publish: boolean;
  upstream?: string;
  dateCreated?: string;
}

export interface FollowedUpstream {
  /** A number in JSON, other than the int64s. */
  id: number;
  label: string;
  url: string;
}

export interface Group {
  appId: string;
  id: string;
  label: string;
  channelId: string;
  updatesPaused: boolean;
  updatePercent: number;
  rolloutActive: boolean;
  /** OEMs with commas between. */
  oemBlacklist?: string;
  /** int64 as text, in updates and seconds. */
  updateCount?: string;
  updateInterval?: string;
  updatePooling?: boolean;
}

export interface ClientUpdate {
  appId: string;
  clientId: string;
  groupId: string;
  version: string;
  /** RFC 3339. */
  lastSeen?: string;
  oem?: string;
  eventType?: string;
  eventResult?: string;
  errorCode?: string;
}

export interface ClientHistoryItem {
  /** int64: seconds since 1970. */
  dateTime: string;
  eventType: string;
  eventResult: string;
  errorCode: string;
  version: string;
  groupId: string;
  installSource: string;
}

export interface RollupItem {
  version: string;
  type?: string;
  result?: string;
  /** int64s: seconds since 1970, and how many. */
  values: { timestamp: string; count: string }[];
}
