/**
 * How a machine outside the cluster gets its client certificate: once by a join token,
 * then by the certificate that it holds. Its identity is the machine id, never the
 * request's subject.
 */
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import type { Coordination, MachineRecord } from "../../coordination/coordination.ts";
import type { Logger } from "../../ports/log.ts";
import {
  type JoinRequest,
  type JoinResponse,
  JoinResponseSchema,
  type RenewRequest,
  type RenewResponse,
  RenewResponseSchema,
} from "../../proto/gen/agent_pb.ts";
import { type CertificateAuthority, RefusedRequest } from "../certificate-authority.ts";
import { type Identity, Refused } from "./authenticate.ts";
import { isMachineId } from "./form.ts";

const MAX_JOIN_TOKEN = 256;

/** Key of a join token in etcd: its SHA-256, hex. The token itself is stored nowhere. */
export function hashJoinToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

export interface EnrolmentOptions {
  coordination: Pick<Coordination, "spendJoinToken" | "readMachine">;
  authority: () => CertificateAuthority;
  log: Logger;
}

export class Enrolment {
  readonly #options: EnrolmentOptions;

  constructor(options: EnrolmentOptions) {
    this.#options = options;
  }

  /** Throws `RefusedRequest` (nothing was spent), `Refused`, `EtcdUnavailable`. */
  async join(request: JoinRequest): Promise<JoinResponse> {
    const { coordination, authority, log } = this.#options;
    if (!isMachineId(request.machineId)) {
      throw new RefusedRequest("machine_id: 32 lowercase hexadecimal characters expected");
    }
    if (request.joinToken === "" || request.joinToken.length > MAX_JOIN_TOKEN) {
      throw new Refused("no usable join token");
    }
    const key = await authority().readRequest(request.certificateRequest);
    const record = await coordination.spendJoinToken(hashJoinToken(request.joinToken), request.machineId);
    if (record === undefined) {
      throw new Refused("the join token is unknown, spent or expired: `slipway join-token create` makes one");
    }
    if (record === "known") {
      log.info("a join token was shown for a machine that is known", { machine: request.machineId });
      throw new Refused(
        `machine ${request.machineId} is known already and keeps its certificate; if it was installed anew: \`slipway join-token forget-machine ${request.machineId}\`, then join again`,
      );
    }
    const certificate = await authority().issueMachine(request.machineId, key, record.joinedAt);
    log.info("a machine joined", { machine: request.machineId, group: record.group });
    return create(JoinResponseSchema, { certificate });
  }

  /** Throws `RefusedRequest`, `Refused`, `EtcdUnavailable`. */
  async renew(identity: Identity, request: RenewRequest): Promise<RenewResponse> {
    const { authority, log } = this.#options;
    const { machineId } = identity;
    if (machineId === undefined) throw new Refused("only a machine that joined has a certificate to renew");
    const key = await authority().readRequest(request.certificateRequest);
    const record = await this.check(identity);
    const certificate = await authority().issueMachine(machineId, key, record?.joinedAt);
    log.info("renewed a machine's certificate", { machine: machineId });
    return create(RenewResponseSchema, { certificate });
  }

  /**
   * Whether the machine is one of ours, and its certificate from after it joined: forgetting
   * a machine ends what it had, and joining anew does not revive it. The record of a plain
   * machine, undefined for a node. Throws `Refused`, `EtcdUnavailable`.
   */
  async check({ machineId, issuedAt = 0 }: Identity): Promise<MachineRecord | undefined> {
    if (machineId === undefined) return undefined;
    const record = await this.#options.coordination.readMachine(machineId);
    if (record === undefined) {
      throw new Refused("the machine was forgotten: it needs a new join token");
    }
    if (issuedAt < wholeSeconds(record.joinedAt)) {
      throw new Refused("the certificate is from before the machine joined anew");
    }
    return record;
  }
}

/** As a certificate's dates are (RFC 5280, 4.1.2.5). */
function wholeSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000) * 1000;
}
