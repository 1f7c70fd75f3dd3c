/** Around every view: the way between them, how fresh they are, who is signed in. */
import { useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Group } from "../contract.ts";
import { useApp } from "./app-context.ts";
import type { Link } from "./feed.ts";
import { clockSeconds, duration } from "./format.ts";
import { CommandButton, CommandPopover } from "./parts/number.tsx";
import { QuestionDialog } from "./parts/question.tsx";
import { href, route, titleOf, VIEWS, type View } from "./route.ts";
import { ActivityView } from "./views/activity.tsx";
import { FleetView } from "./views/fleet.tsx";
import { GroupView } from "./views/group.tsx";
import { ReleasesView } from "./views/releases.tsx";
import { RolloutsView } from "./views/rollouts.tsx";
import { SlotsView } from "./views/slots.tsx";
import { WindowsView } from "./views/windows.tsx";

export function Shell({ link, onSignOut }: { link: Link; onSignOut: () => void }) {
  const { announcer, me } = useApp();
  const current = route.value;
  const title = titleOf(current);
  const heading = useRef<HTMLHeadingElement>(null);
  const first = useRef(true);
  useEffect(() => {
    document.title = `${title} - Slipway`;
    // Not after the page was loaded: then the reader begins at its top.
    if (first.current) first.current = false;
    else heading.current?.focus();
    scrollTo(0, 0);
  }, [current.view, current.group]);
  useAnnouncements();
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          heading.current?.focus();
        }}
      >
        To the content
      </a>
      <header class="top">
        <a class="brand" href={href.view("rollouts")}>
          Slipway
        </a>
        <LinkState link={link} />
        <div class="who">
          <span title={me.groups.join(", ")}>{me.user}</span>
          {!Object.values(me.may).includes(true) && <span class="note">may read only</span>}
          <CommandButton command={me.kubectl} of="your rights" />
          <button type="button" onClick={onSignOut}>
            Sign out
          </button>
        </div>
      </header>
      <nav aria-label="Views">
        <ul>
          {(Object.keys(VIEWS) as View[]).map((view) => (
            <li key={view}>
              <a href={href.view(view)} aria-current={isAt(current.view, view) ? "page" : undefined}>
                {VIEWS[view]}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <main id="main">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        <CurrentView />
      </main>
      <div role="status" aria-live="polite" class="unseen">
        {announcer.text}
      </div>
      <CommandPopover />
      <QuestionDialog />
    </>
  );
}

function isAt(at: View | "group", view: View): boolean {
  return at === view || (at === "group" && view === "rollouts");
}

function CurrentView() {
  const { view, group } = route.value;
  switch (view) {
    case "group":
      return <GroupView key={group} name={group ?? ""} />;
    case "fleet":
      return <FleetView />;
    case "releases":
      return <ReleasesView />;
    case "windows":
      return <WindowsView />;
    case "slots":
      return <SlotsView />;
    case "activity":
      return <ActivityView />;
    default:
      return <RolloutsView />;
  }
}

/** Live, or since when what is shown is not. */
function LinkState({ link }: { link: Link }) {
  const { model, now, announcer } = useApp();
  const freshness = model.freshness.value;
  const stale = link.state === "lost" || (link.state === "live" && freshness?.stale !== undefined);
  const was = useRef(stale);
  useEffect(() => {
    if (stale !== was.current)
      announcer.say("link", stale ? "What is shown is stale." : "What is shown is live again.");
    was.current = stale;
  }, [stale]);
  if (link.state === "connecting") return <p class="link wait">Connecting …</p>;
  if (link.state === "lost") {
    return (
      <p class="link bad">
        <b>Stale</b> since {clockSeconds(link.since)}: no connection to the gateway for{" "}
        {duration(now.value - link.since)}
      </p>
    );
  }
  if (freshness?.stale !== undefined) {
    const since = Date.parse(freshness.asOf);
    return (
      <p class="link bad">
        <b>Stale</b> since {clockSeconds(since)} ({duration(now.value - since)}): {freshness.stale}
      </p>
    );
  }
  return (
    <p class="link good">
      <span aria-hidden="true">●</span> Live
    </p>
  );
}

/** What a person who can't see the page should hear of. */
function useAnnouncements(): void {
  const { model, announcer } = useApp();
  const before = useRef<ReadonlyMap<string, Group> | undefined>(undefined);
  useSignalEffect(() => {
    const groups = model.groups.value;
    for (const [name, group] of groups ?? []) {
      const known = before.current?.get(name);
      if (known === undefined) continue;
      const changed =
        known.state !== group.state ||
        known.stage !== group.stage ||
        known.counts.updated !== group.counts.updated;
      if (changed) announcer.say(name, sentenceOf(group));
    }
    before.current = groups;
  });
}

function sentenceOf({ name, state, counts, stage, why }: Group): string {
  const words = { UpToDate: "up to date", Updating: "updating" } as Partial<Record<Group["state"], string>>;
  const where = stage === undefined ? "" : `, stage ${stage}`;
  const because = state === "Halted" && why !== undefined ? ` ${why.message}` : "";
  return `${name} is ${words[state] ?? state.toLowerCase()}: ${counts.updated} of ${counts.nodes} updated${where}.${because}`;
}
