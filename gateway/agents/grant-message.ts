/** The grant of a node as its agent is told of it. */
import { create, fromJson, type JsonValue } from "@bufbuild/protobuf";
import type { LiveGrant } from "../../coordination/coordination.ts";
import { sameToken, type Token } from "../../coordination/records.ts";
import {
  type Grant,
  GrantSchema,
  PolicySchema,
  TargetSchema,
  type Token as TokenMessage,
  TokenSchema,
} from "../../proto/gen/agent_pb.ts";

export function tokenMessage(token: Token): TokenMessage {
  return create(TokenSchema, { incarnation: token.incarnation, revision: BigInt(token.revision) });
}

/**
 * An empty message where there is no living grant; a withdrawn one is none.
 * `known` is the token that the agent says it acts under: after a rebuild of etcd the
 * grant is shown under that one (`Grant.supersedes`), or the agent would take its own for gone.
 * Throws where the record can't be read.
 */
export function grantMessage(live: LiveGrant | undefined, known: Token | undefined): Grant {
  if (live === undefined || live.phase.phase === "Withdrawn") return create(GrantSchema);
  const { target, policy, supersedes } = live.grant;
  const token = supersedes !== null && sameToken(supersedes, known) ? supersedes : live.token;
  const options = { ignoreUnknownFields: true };
  const message = create(GrantSchema, {
    token: tokenMessage(token),
    phase: live.phase.phase,
    policy: fromJson(PolicySchema, policy as JsonValue, options),
  });
  if (target !== null) message.target = fromJson(TargetSchema, target as JsonValue, options);
  return message;
}
