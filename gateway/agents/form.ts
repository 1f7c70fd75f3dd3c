/**
 * The form of what an agent says. An agent is not trusted: each message is bounded here
 * before anything is stored. Free text is clipped; whatever else is out of form is refused.
 */
import { type Reason, reasons, type Why } from "../../api/reasons.ts";
import { type Phase, Token } from "../../coordination/records.ts";
import type {
  BootIdentity,
  FailedRelease,
  Hello,
  Observed,
  Token as TokenMessage,
} from "../../proto/gen/agent_pb.ts";

/** A message that no agent of ours sends. `message` names the field. */
export class MalformedMessage extends Error {
  constructor(message: string) {
    super(message);
    this.name = "MalformedMessage";
  }
}

/** As long as `NodeUpdate.status` takes them: a longer word would make every write of the status fail. */
const MAX_WORD = 64;
const MAX_ARCHITECTURE = 16;
const MAX_TEXT = 1024;
/** Of each of the failed releases, in every report again. */
const MAX_FAILED_TEXT = 200;
const MAX_SLOTS = 2;
const MAX_FAILED = 20;

/** Versions, hashes, steps, ids: printable ASCII without spaces. */
const WORD = /^[!-~]*$/;
/** machine-id(5): 32 lowercase hexadecimal characters. A Node's UID has dashes, so the two never meet. */
const MACHINE_ID = /^[0-9a-f]{32}$/;

function word(field: string, value: string, most = MAX_WORD): void {
  if (value.length > most || !WORD.test(value)) {
    throw new MalformedMessage(
      `${field}: at most ${most} printable ASCII characters without spaces expected`,
    );
  }
}

/** Free text for people, safe for a terminal and a log. */
function text(value: string, most = MAX_TEXT): string {
  const clipped = value.length > most ? `${value.slice(0, most - 1)}…` : value;
  return clipped.replaceAll(/\p{Cc}/gu, " ");
}

export function isMachineId(value: string): boolean {
  return MACHINE_ID.test(value);
}

/** `bootId/softReboots`, as `Phase.committedBoot` has it. */
export function checkBoot(field: string, boot: BootIdentity | undefined): string {
  if (boot === undefined || boot.bootId === "") throw new MalformedMessage(`${field}: missing`);
  word(`${field}.boot_id`, boot.bootId);
  if (boot.bootId.includes("/")) throw new MalformedMessage(`${field}.boot_id: no slash expected`);
  return `${boot.bootId}/${boot.softReboots}`;
}

export function checkToken(field: string, token: TokenMessage | undefined): Token {
  if (token === undefined) throw new MalformedMessage(`${field}: missing`);
  word(`${field}.incarnation`, token.incarnation);
  const parsed = Token.safeParse({ incarnation: token.incarnation, revision: Number(token.revision) });
  if (!parsed.success) throw new MalformedMessage(`${field}.revision: below 2^53 expected`);
  return parsed.data;
}

function checkFailed(failed: FailedRelease): void {
  word("failed.root_hash", failed.rootHash);
  word("failed.version", failed.version);
  word("failed.reason", failed.reason);
  failed.message = text(failed.message, MAX_FAILED_TEXT);
}

/** Checks `observed` and clips its texts in place; it is a fresh message of the decoder. */
export function checkObserved(observed: Observed): Observed {
  if (observed.boot !== undefined) checkBoot("observed.boot", observed.boot);
  if (observed.token !== undefined) checkToken("observed.token", observed.token);
  if (observed.slots.length > MAX_SLOTS) {
    throw new MalformedMessage(`observed.slots: at most ${MAX_SLOTS} expected`);
  }
  if (observed.failed.length > MAX_FAILED) {
    throw new MalformedMessage(`observed.failed: at most ${MAX_FAILED} expected`);
  }
  if (new Set(observed.slots.map(({ name }) => name)).size !== observed.slots.length) {
    throw new MalformedMessage("observed.slots: each name once expected");
  }
  for (const slot of observed.slots) {
    word("slots.name", slot.name);
    word("slots.version", slot.version);
    word("slots.root_hash", slot.rootHash);
  }
  observed.failed.forEach(checkFailed);
  word("observed.running_version", observed.runningVersion);
  word("observed.running_root_hash", observed.runningRootHash);
  word("observed.step", observed.step);
  word("observed.reason", observed.reason);
  word("observed.staged_root_hash", observed.stagedRootHash);
  word("observed.staged_version", observed.stagedVersion);
  word("observed.floor_version", observed.floorVersion);
  word("observed.machine_id", observed.machineId);
  word("observed.architecture", observed.architecture, MAX_ARCHITECTURE);
  observed.message = text(observed.message);
  return observed;
}

/** `machineId` is the authenticated one of a plain machine; a node's agent states its own. */
export function checkHello(hello: Hello, machineId: string | undefined): void {
  word("hello.agent_version", hello.agentVersion);
  word("hello.architecture", hello.architecture, MAX_ARCHITECTURE);
  checkBoot("hello.boot", hello.boot);
  if (!isMachineId(hello.machineId)) {
    throw new MalformedMessage("hello.machine_id: 32 lowercase hexadecimal characters expected");
  }
  if (machineId !== undefined && hello.machineId !== machineId) {
    throw new MalformedMessage("hello.machine_id: not the machine of the client certificate");
  }
  if (hello.observed !== undefined) checkObserved(hello.observed);
}

/** The agent's own reason where the catalogue has it, else `otherwise`. */
export function checkWhy(reason: string, message: string, otherwise: Reason): Why {
  return {
    reason: Object.hasOwn(reasons, reason) ? (reason as Reason) : otherwise,
    message: text(message),
  };
}

const VERDICTS: readonly string[] = ["Updated", "FellBack", "Rebooted", "StillRequired"];

export function checkVerdict(verdict: string): NonNullable<Phase["verdict"]> {
  if (!VERDICTS.includes(verdict)) {
    throw new MalformedMessage(`return.verdict: one of ${VERDICTS.join(", ")} expected`);
  }
  return verdict as NonNullable<Phase["verdict"]>;
}
