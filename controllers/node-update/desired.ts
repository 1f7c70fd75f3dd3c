/** The `desired` record of a node: its target, and the group's policy in the agent's words. */
import { Buffer } from "node:buffer";
import { create } from "@bufbuild/protobuf";
import { parseDuration } from "../../api/duration.ts";
import type { NodeUpdate } from "../../api/node-update.ts";
import type { Payload } from "../../api/release.ts";
import type { UpdateGroup } from "../../api/update-group.ts";
import { type Desired, DesiredSchema, type Observed } from "../../proto/gen/agent_pb.ts";
import { allows, type Wanted } from "./target.ts";

/** A group that is gone leaves a node without target and without permission to stage. */
export function desiredOf(
  nodeUpdate: NodeUpdate,
  group: UpdateGroup | undefined,
  wanted: Wanted,
  observed: Observed | undefined,
  mayStage: boolean,
): Desired {
  const common = {
    group: nodeUpdate.spec.group,
    ...(group === undefined ? {} : { mayStage, policy: policyOf(group, isAsked(wanted)) }),
  };
  if (wanted.kind !== "image") return create(DesiredSchema, common);
  const { release, payload } = wanted;
  const { version, product, updatesFrom = "" } = release.spec;
  const { downgrade, retry } = allows(nodeUpdate, wanted, observed);
  return create(DesiredSchema, {
    ...common,
    target: { release: release.metadata.name, version, product, updatesFrom, ...imageOf(payload) },
    allowDowngradeTo: downgrade ? version : "",
    retryRootHashes: retry ? [payload.rootHash] : [],
  });
}

function imageOf({ architecture, rootHash, image, manifest, signatures }: Payload) {
  const blob = ({ urls, size, sha256 }: Payload["image"]) => ({ urls, size: BigInt(size), sha256 });
  return {
    architecture,
    rootHash,
    image: blob(image),
    manifest: blob(manifest),
    signatures: signatures.map(({ keyId, signature }) => ({
      keyId,
      signature: new Uint8Array(Buffer.from(signature, "base64")),
    })),
  };
}

function isAsked(wanted: Wanted): boolean {
  return wanted.kind === "reboot" && wanted.asked !== undefined;
}

function policyOf({ spec }: UpdateGroup, rebootAsked: boolean) {
  return {
    rebootAsked,
    driver: spec.driver,
    rebootMethod: spec.rebootMethod,
    bootDeadlineSeconds: parseDuration(spec.health.bootDeadline) / 1000,
    rebootTimeSeconds: parseDuration(spec.health.rebootTime) / 1000,
    rateLimitBytesPerSecond: BigInt(spec.transfer.rateLimit),
    allowUnsigned: spec.allowUnsigned,
    bootChecks: spec.health.bootChecks.map(({ name, unit, http, command, timeout }) => ({
      name,
      timeoutSeconds: parseDuration(timeout) / 1000,
      check: checkOf(unit, http, command),
    })),
  };
}

function checkOf(unit: string | undefined, http: string | undefined, command: string | undefined) {
  if (unit !== undefined) return { case: "unit" as const, value: unit };
  if (http !== undefined) return { case: "http" as const, value: http };
  if (command !== undefined) return { case: "command" as const, value: command };
  return { case: undefined };
}
