/** What an agent asks of a gateway, as messages of the protocol. */
import { create } from "@bufbuild/protobuf";
import type { Why } from "../api/reasons.ts";
import {
  CommitRequestSchema,
  type Hello,
  HelloSchema,
  type Observed,
  ReturnRequestSchema,
  type SessionRequest,
  WithdrawRequestSchema,
} from "../proto/gen/agent_pb.ts";
import type { Boot, Host } from "./host.ts";
import type { GrantToken, Verdict } from "./memory.ts";

type Body = SessionRequest["body"];

const identity = (boot: Boot): { bootId: string; softReboots: number } => ({
  bootId: boot.id,
  softReboots: boot.softReboots,
});

export function hello(host: Host, agentVersion: string, observed: Observed | undefined): Hello {
  return create(HelloSchema, {
    agentVersion,
    machineId: host.machineId,
    architecture: host.architecture,
    boot: identity(host.boot),
    ...(observed !== undefined && { observed }),
  });
}

export function commitRequest(token: GrantToken, boot: Boot): Body {
  return { case: "commit", value: create(CommitRequestSchema, { token, boot: identity(boot) }) };
}

export function withdrawRequest(token: GrantToken, { reason, message }: Why): Body {
  return { case: "withdraw", value: create(WithdrawRequestSchema, { token, reason, message }) };
}

export function returnRequest(
  token: GrantToken,
  boot: Boot,
  verdict: Verdict,
  { reason, message }: Why,
): Body {
  const value = create(ReturnRequestSchema, { token, boot: identity(boot), verdict, reason, message });
  return { case: "return", value };
}
