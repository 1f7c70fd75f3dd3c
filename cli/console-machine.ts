/** The machine without our agent that a person names, as a console knows it. */
import type { Story } from "../console/contract.ts";
import { operations } from "../console/operations.ts";
import { idOf, uidOf } from "../coordination/identity.ts";
import { NotThere, type Read, readList } from "./console-api.ts";

/** Machines with the name in theirs that are looked through: ten pages. */
const MOST = 10_000;
/** The longest that the console's filter takes. */
const MAX_NAME = 253;
/** Of each kind, in a sentence. */
const SHOWN = 5;

export type Found =
  | { is: "found"; story: Story }
  /** Several call themselves so. */
  | { is: "several"; machines: readonly { id: string; group: string }[] }
  /** `near`: names that are alike. `whole`: whether all were looked through. */
  | { is: "none"; near: readonly string[]; whole: boolean };

/** By its machine id, which is one machine's; else by the name that it gave itself, which several may have. */
export async function findForeign(read: Read, name: string): Promise<Found> {
  if (name === "" || name.length > MAX_NAME) return { is: "none", near: [], whole: true };
  const own = await storyOf(read, uidOf(name));
  if (own !== undefined) return { is: "found", story: own };
  const { items, total } = await readList(
    read,
    operations.listMachines,
    { search: name, kind: "foreign" },
    MOST,
  );
  const named = items.filter((machine) => machine.name === name);
  if (named.length > 1) {
    const machines = named.map((machine) => ({ id: idOf(machine.uid), group: machine.group }));
    return { is: "several", machines };
  }
  const [only] = named;
  const story = only === undefined ? undefined : await storyOf(read, only.uid);
  if (story !== undefined) return { is: "found", story };
  const near = [...new Set(items.map((machine) => machine.name))].slice(0, SHOWN);
  return { is: "none", near, whole: total <= items.length };
}

/** Undefined where there is no such machine, or it is one with our agent or a Node. */
async function storyOf(read: Read, uid: string): Promise<Story | undefined> {
  try {
    const story = await read(operations.readMachine, {}, uid);
    return story.machine.kind === "foreign" ? story : undefined;
  } catch (error) {
    if (error instanceof NotThere) return undefined;
    throw error;
  }
}
