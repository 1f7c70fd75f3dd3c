/** What a person asks about one machine without our agent, as an annotation of its group: `MACHINE: reason`. */

export interface MachineWord {
  machine: string;
  reason: string;
}

/** JSON's string, at the beginning. */
const QUOTED = /^("(?:[^"\\]|\\.)*")(?:: |$)/s;

/** A machine is called what it says itself; a name that would be read as another one stands in quotes, as in JSON. */
export function machineWord(machine: string, reason: string): string {
  const plain = !machine.startsWith('"') && readMachineWord(`${machine}: `).machine === machine;
  return `${plain ? machine : JSON.stringify(machine)}: ${reason}`;
}

/** As a person writes it by hand, too: the reason may be missing. */
export function readMachineWord(word: string): MachineWord {
  const [, quoted] = QUOTED.exec(word) ?? [];
  const named = quoted === undefined ? undefined : unquoted(quoted);
  if (quoted !== undefined && named !== undefined)
    return { machine: named, reason: reasonOf(word.slice(quoted.length)) };
  const mark = word.indexOf(": ");
  const end = mark < 0 ? word.length : mark;
  return { machine: word.slice(0, end).trim(), reason: reasonOf(word.slice(end)) };
}

/** Of what follows the machine. */
function reasonOf(rest: string): string {
  return rest === "" ? "no reason given" : rest.slice(2);
}

function unquoted(text: string): string | undefined {
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}
