/** Whom a group tells of what happens to it. */
import * as z from "zod";
import { HttpUrl } from "./blocker.ts";
import { form } from "./rules.ts";

export const NotificationEvent = z.enum(["Halted", "Resumed", "Suspect", "StagePassed", "Done"]);
export type NotificationEvent = z.output<typeof NotificationEvent>;

/** A key that the manager signs with, by the name of its file. */
export const SigningKey = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-zA-Z0-9][-._a-zA-Z0-9]*$/)
  .meta(form("must be the name of a file: letters, digits, `-`, `.` and `_`"));

export const Notifications = z.object({
  url: HttpUrl.meta({
    description:
      "Is sent a POST with JSON {id, time, event, group, release, node, stage, reason, message, text}.",
  }),
  signingKey: SigningKey.meta({
    description:
      "Name of the file in the manager's --webhook-keys whose text is the key: the header Slipway-Signature is `sha256=` and the HMAC-SHA256 of the body in hex. Nothing is sent unsigned.",
  }),
  events: z
    .array(NotificationEvent)
    .min(1)
    .max(5)
    .optional()
    .meta({ description: "What is told; absent: all.", "x-kubernetes-list-type": "set" }),
});
export type Notifications = z.output<typeof Notifications>;
