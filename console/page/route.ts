/** Which view is shown: what follows the `#` of the address, so that a link leads to what a person sees. */
import { signal } from "@preact/signals";

export const VIEWS = {
  rollouts: "Rollouts",
  fleet: "Fleet",
  releases: "Channels and releases",
  windows: "Windows",
  slots: "Reboot slots",
  activity: "Activity",
} as const;
export type View = keyof typeof VIEWS;

export interface Route {
  view: View | "group";
  /** Of the view "group". */
  group?: string;
  query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/);
  const query = new URLSearchParams(search);
  const [view = "", name] = path.split("/").map(decode);
  if (view === "groups" && name !== undefined && name !== "") return { view: "group", group: name, query };
  return { view: Object.hasOwn(VIEWS, view) ? (view as View) : "rollouts", query };
}

/** Addresses are typed by people too. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const href = {
  view: (view: View, query: Record<string, string | undefined> = {}): string => {
    const given = Object.entries(query).filter((entry): entry is [string, string] => (entry[1] ?? "") !== "");
    return given.length === 0 ? `#/${view}` : `#/${view}?${new URLSearchParams(given).toString()}`;
  },
  group: (name: string): string => `#/groups/${encodeURIComponent(name)}`,
  machine: (uid: string, group?: string): string => href.view("fleet", { group, machine: uid }),
};

export const route = signal<Route>(parseRoute(""));

export function titleOf({ view, group }: Route): string {
  return view === "group" ? `Group ${group ?? ""}` : VIEWS[view];
}
