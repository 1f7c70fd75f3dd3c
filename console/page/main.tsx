/** The console's page: what the browser has, put together, and who is signed in. */
import { signal } from "@preact/signals";
import { render } from "preact";
import type { Me } from "../contract.ts";
import { Announcer } from "./announce.ts";
import { api, Refused, whyNot } from "./api.ts";
import { type AppContext, AppProvider, type ShownCommand } from "./app-context.ts";
import { EVENTS, Feed, machinesPath, type Stream, worst } from "./feed.ts";
import { Model } from "./model.ts";
import type { Question } from "./parts/question.tsx";
import { parseRoute, route } from "./route.ts";
import { Shell } from "./shell.tsx";
import { SignIn } from "./sign-in.tsx";
import type { Timers } from "./timers.ts";

const timers: Timers = {
  now: () => Date.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  frame: (run) => {
    // A tab that is hidden meanwhile gets no frame.
    const timer = setTimeout(() => {
      cancelAnimationFrame(request);
      run();
    }, 1000);
    const request = requestAnimationFrame(() => {
      clearTimeout(timer);
      run();
    });
  },
};

/** After so long in the background a tab gives its connections back, ms: a browser has six for all tabs of a host. */
const REST_AFTER = 60_000;

/** Between two questions who is signed in, while nobody answers, ms. */
const RETRY = 2000;

type Session = { state: "asking" } | { state: "out"; note?: string } | { state: "in"; me: Me };

const session = signal<Session>({ state: "asking" });
const now = signal(timers.now());
const question = signal<Question | undefined>(undefined);
const shown = signal<ShownCommand | undefined>(undefined);
const announcer = new Announcer(timers);
let model = new Model();
const feeds = signal<readonly Feed[]>([]);

function openStream(path: string): Stream {
  const source = new EventSource(path);
  return {
    get closed() {
      return source.readyState === EventSource.CLOSED;
    },
    on: (name, take) => source.addEventListener(name, ({ data }) => take(String(data))),
    onOpen: (run) => source.addEventListener("open", run),
    onError: (run) => source.addEventListener("error", run),
    close: () => source.close(),
  };
}

function openFeed(path: string): Feed {
  const feed = new Feed({ model, timers, path, open: openStream, whyNot: whyRefused });
  feeds.value = [...feeds.peek(), feed];
  return feed;
}

async function whyRefused(path: string): Promise<string | undefined> {
  const problem = await whyNot(path);
  if (problem?.error === "SignInNeeded" && session.peek().state === "in") leave("Your session has ended.");
  return problem?.message;
}

function watchMachines(group: string | undefined): () => void {
  const machines = openFeed(machinesPath(group));
  return () => {
    machines.stop();
    feeds.value = feeds.peek().filter((feed) => feed !== machines);
    model.forgetMachines();
  };
}

/** Asks who is signed in, until there is an answer. */
async function ask(): Promise<void> {
  try {
    const me = await api.me();
    if (feeds.peek().length === 0) openFeed(EVENTS);
    session.value = { state: "in", me };
  } catch (error) {
    if (error instanceof Refused && error.problem.error === "SignInNeeded") leave(undefined);
    else timers.after(RETRY, () => void ask());
  }
}

/** Nothing that the person saw stays in the page. */
function leave(note: string | undefined): void {
  for (const feed of feeds.peek()) feed.stop();
  feeds.value = [];
  model = new Model();
  question.value = undefined;
  shown.value = undefined;
  session.value = note === undefined ? { state: "out" } : { state: "out", note };
}

async function signOut(): Promise<void> {
  await api.signOut().catch(() => undefined);
  leave(undefined);
}

function App() {
  const current = session.value;
  if (current.state === "asking") return <p class="empty">Asking the gateway …</p>;
  if (current.state === "out") return <SignIn note={current.note} onSignedIn={() => void ask()} />;
  const app: AppContext = { model, timers, announcer, now, me: current.me, watchMachines, question, shown };
  return (
    <AppProvider value={app}>
      <Shell link={worst(feeds.value.map(({ link }) => link.value))} onSignOut={() => void signOut()} />
    </AppProvider>
  );
}

setInterval(() => {
  now.value = timers.now();
}, 1000);
let cancelRest = (): void => {};
addEventListener("visibilitychange", () => {
  cancelRest();
  if (document.hidden) {
    cancelRest = timers.after(REST_AFTER, () => {
      for (const feed of feeds.peek()) feed.rest();
    });
  } else for (const feed of feeds.peek()) feed.wake();
});
addEventListener("hashchange", () => {
  route.value = parseRoute(location.hash);
});
route.value = parseRoute(location.hash);
const root = document.getElementById("app");
if (root !== null) {
  root.textContent = "";
  render(<App />, root);
}
void ask();
