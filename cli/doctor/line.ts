/** A line of what `doctor` found. */
export type Level = "ok" | "warn" | "fail";

export interface Line {
  level: Level;
  check: string;
  /** One sentence without a full stop. */
  found: string;
  /** What to do; absent where nothing needs doing. */
  todo?: string;
}

export function ok(check: string, found: string): Line {
  return { level: "ok", check, found };
}

export function warn(check: string, found: string, todo: string): Line {
  return { level: "warn", check, found, todo };
}

export function fail(check: string, found: string, todo: string): Line {
  return { level: "fail", check, found, todo };
}

/** What a list that we may not read leaves unchecked. */
export function unread(check: string, refusal: string): Line {
  return warn(
    check,
    `not checked: ${refusal}`,
    "ask for the permission to list it, or let somebody run this who has it",
  );
}
