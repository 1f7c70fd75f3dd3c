/** What stands for something in a page, and what there is in a test. */

/** Of a plain machine. */
export const MACHINE = "0123456789abcdef0123456789abcdef";

/** The first that fits counts. */
const WORDS: readonly [RegExp, string][] = [
  [/ --watch\b/g, ""],
  [/ --etcd-(?:ca|cert|key) \S+/g, ""],
  [/\bKEY=VALUE\b/g, "rack=r1"],
  [/\bMACHINE-ID\b/g, MACHINE],
  [/\bNODE\b/g, "docs-node"],
  [/\bGROUP\b/g, "docs-group"],
  [/\bCHANNEL\b/g, "docs-channel"],
  [/\bRELEASE\b/g, "docs-1.0.0"],
  [/\bROLE\b/g, "manager"],
  [/\bIMAGE\b/g, "harbor.squashfs"],
  [/\bDIRECTORY\b/g, "out/docs"],
  [/\bURL\b/g, "https://images.example.org/docs"],
  [/\bVERSION\b/g, "2.0.0"],
  [/\bNAME\b/g, "docs"],
  [/\bID\b/g, MACHINE],
  [/ N\b/g, " 2"],
];

/** A page's commands with names of what there is; of its words only names and addresses are replaced. */
export function filled(text: string): string {
  return WORDS.reduce((so, [word, instead]) => so.replaceAll(word, instead), text);
}
