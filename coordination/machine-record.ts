/** Records of machines as they are kept in memory by the hundred thousand: what many have in common is there once. */
import type { ForeignMachine } from "./records.ts";

/** Different texts that are shared; beyond it all are forgotten, and what is kept already stays as it is. */
const MAX_SHARED = 20_000;

export class SharedTexts {
  readonly #known = new Map<string, string>();

  share(text: string): string {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    if (this.#known.size >= MAX_SHARED) this.#known.clear();
    this.#known.set(text, text);
    return text;
  }
}

const NONE: ForeignMachine["failed"] = [];

/** The same record, small: each has the same fields in the same order, so that they have one shape in memory. */
export function slim(uid: string, machine: ForeignMachine, texts: SharedTexts): ForeignMachine {
  const { id, update, tried, failed, why } = machine;
  return {
    id: id === uid ? uid : id,
    group: texts.share(machine.group),
    product: texts.share(machine.product),
    version: texts.share(machine.version),
    track: texts.share(machine.track),
    board: texts.share(machine.board),
    oem: texts.share(machine.oem),
    alias: machine.alias,
    bootId: machine.bootId,
    sharedAt: machine.sharedAt,
    firstSeen: machine.firstSeen,
    lastSeen: machine.lastSeen,
    update: update && {
      group: texts.share(update.group),
      release: texts.share(update.release),
      version: texts.share(update.version),
      bootId: update.bootId === machine.bootId ? machine.bootId : update.bootId,
      state: update.state,
      attempt: update.attempt,
      at: update.at,
      open: update.open,
    },
    tried: tried && { release: texts.share(tried.release), times: tried.times },
    failed:
      failed.length === 0
        ? NONE
        : failed.map(({ release, code, at }) => ({ release: texts.share(release), code, at })),
    why: why && { reason: texts.share(why.reason), message: texts.share(why.message), since: why.since },
  };
}
