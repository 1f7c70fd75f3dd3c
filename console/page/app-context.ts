/** What every view is given. */
import type { Signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Me } from "../contract.ts";
import type { Announcer } from "./announce.ts";
import type { Model } from "./model.ts";
import type { Question } from "./parts/question.tsx";
import type { Timers } from "./timers.ts";

export interface AppContext {
  model: Model;
  timers: Timers;
  announcer: Announcer;
  /** Rises each second. */
  now: Signal<number>;
  me: Me;
  /** Streams the machines of a group, or of all, into the model until the result is called. */
  watchMachines: (group: string | undefined) => () => void;
  /** The write that a person is asked to confirm. */
  question: Signal<Question | undefined>;
  /** The command that is shown beside a number, and the number's button. */
  shown: Signal<ShownCommand | undefined>;
}

export interface ShownCommand {
  command: string;
  by: HTMLElement;
}

const Context = createContext<AppContext | undefined>(undefined);
export const AppProvider = Context.Provider;

export function useApp(): AppContext {
  const app = useContext(Context);
  if (app === undefined) throw new Error("a view stands outside of the app");
  return app;
}
