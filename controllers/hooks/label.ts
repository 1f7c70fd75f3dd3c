/** What the annotations of a Node answer to a hook that asks by a label. */
import type { Hook } from "../../api/hook.ts";
import type { Node } from "../../runtime/core.ts";
import { cordonOf } from "../node-update/cordon.ts";
import type { Answer } from "./policy.ts";

/** Annotations that a message names, and the characters of each that it shows. */
const NAMED = 3;
const SHOWN = 63;

/** `run`: whose label the Node must have, or what it says is an answer to somebody else. */
export function answerOfLabel(
  node: Node | undefined,
  run: string,
  { key: label, value, answers, done, failed }: NonNullable<Hook["label"]>,
): Answer {
  if (node === undefined || cordonOf(node)?.ask?.run !== run) return { kind: "unasked" };
  const said = (key: string): string | undefined => node.metadata.annotations?.[key];
  const against = failed === undefined ? undefined : answers.find((key) => said(key) === failed);
  if (against !== undefined)
    return { kind: "failed", cause: `annotation ${against} says ${failed?.slice(0, SHOWN)}` };
  const open = answers.filter((key) => said(key) !== done);
  if (open.length === 0) return { kind: "done" };
  // Somebody took the label off, or changed it: it stands for as long as answers are missing.
  if (node.metadata.labels?.[label] !== value) return { kind: "unasked" };
  const named = open.slice(0, NAMED).map((key) => {
    const word = said(key);
    return word === undefined ? key : `${key} (it says ${word.slice(0, SHOWN)})`;
  });
  const more = open.length > NAMED ? ` and ${open.length - NAMED} more` : "";
  const which = open.length === 1 ? "annotation" : "annotations";
  return { kind: "pending", message: `it waits for ${which} ${named.join(", ")}${more}` };
}
