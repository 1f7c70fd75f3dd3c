/** One machine: what it does and why, what comes next, its slots, its last transitions. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { Story } from "../../contract.ts";
import { AssignAction, StealAction } from "../actions.tsx";
import { api, Refused } from "../api.ts";
import { useApp } from "../app-context.ts";
import { markOf } from "../mark.ts";
import { Badge, MarkName } from "../parts/badge.tsx";
import { CommandButton } from "../parts/number.tsx";
import { Ago, At } from "../parts/time.tsx";
import { href } from "../route.ts";

/** Between two readings of a story that keeps changing, ms. */
const REREAD = 1000;

export function StoryPanel({ uid, onClose }: { uid: string; onClose: () => void }) {
  const { model, timers } = useApp();
  const [story, setStory] = useState<Story | undefined>(undefined);
  const [refused, setRefused] = useState<string | undefined>(undefined);
  const heading = useRef<HTMLHeadingElement>(null);
  const machine = model.machines.current(uid)?.machine;
  const shown = story?.machine.uid === uid ? story : undefined;
  const read = useRef(0);
  useEffect(() => {
    let gone = false;
    const load = async (): Promise<void> => {
      read.current = timers.now();
      try {
        const found = await api.story(uid);
        if (gone) return;
        setStory(found);
        setRefused(undefined);
      } catch (error) {
        if (!gone) setRefused(error instanceof Refused ? error.message : String(error));
      }
    };
    const cancel = timers.after(Math.max(0, read.current + REREAD - timers.now()), () => void load());
    return () => {
      gone = true;
      cancel();
    };
    // Whatever the stream says anew of the machine is a reason to read its story again.
  }, [
    uid,
    machine?.state,
    machine?.reason,
    machine?.message,
    machine?.version,
    machine?.progress,
    machine?.connected,
  ]);
  useEffect(() => {
    const before = document.activeElement;
    heading.current?.focus();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, [uid]);
  return (
    <aside
      class="story"
      aria-labelledby="story-name"
      onKeyDown={({ key }) => {
        if (key === "Escape") onClose();
      }}
    >
      <header>
        <h2 id="story-name" ref={heading} tabIndex={-1}>
          {shown?.machine.name ?? machine?.name ?? "Machine"}
        </h2>
        <button type="button" class="quiet" onClick={onClose} aria-label="Close the machine's story">
          ✕
        </button>
      </header>
      {refused !== undefined && <p class="refusal">{refused}</p>}
      {shown === undefined ? (
        refused === undefined && <p class="empty">Reading its story …</p>
      ) : (
        <Told story={shown} />
      )}
    </aside>
  );
}

function Told({ story }: { story: Story }) {
  const { machine, now, next, grant, held } = story;
  return (
    <>
      <p>
        <MarkName mark={markOf(machine)} />
        {machine.progress !== undefined && machine.state === "Staging" && <span> {machine.progress} %</span>}
        {held !== undefined && <Badge sign="‖" label={`Held: ${held}`} tone="hold" />}
        {story.stale !== undefined && <Badge sign="!" label="Stale" tone="wait" />}
      </p>
      <p class="lead">{now}</p>
      {next !== "" && <p class="next">{next}</p>}
      {story.lastSeen !== undefined && (
        <p class="note">
          It asked last <Ago time={story.lastSeen} />.
        </p>
      )}
      <p>
        <CommandButton command={story.kubectl} of={machine.name} />
      </p>
      <Facts story={story} />
      {story.slots.length > 0 && <Slots story={story} />}
      {grant !== undefined && (
        <section aria-labelledby="story-grant">
          <h3 id="story-grant">Its reboot slot</h3>
          <p>
            {grant.phase} since <At time={grant.since} />
            {grant.release === undefined ? "" : `, for ${grant.release}`}; in {grant.budgets.join(", ")}
          </p>
          <StealAction uid={machine.uid} name={machine.name} nonce={grant.nonce} />
        </section>
      )}
      <Transitions story={story} />
      <AssignAction machines={[[machine.uid, machine.name]]} />
    </>
  );
}

const KINDS = {
  node: "Node with our agent",
  machine: "plain machine with our agent",
  foreign: "machine without our agent",
} as const;

function Facts({ story }: { story: Story }) {
  const { machine } = story;
  const facts: [string, string][] = [
    ["Group", machine.group],
    ["Zone", machine.zone],
    ["Runs", machine.version],
    ["Should run", machine.target],
    ["Kind", KINDS[machine.kind]],
    ["Architecture", story.architecture ?? ""],
    ["Protocol", machine.protocol ?? ""],
    ["Agent", machine.connected === undefined ? "" : machine.connected ? "connected" : "not connected"],
    ["Boot", story.bootId ?? ""],
    ["Machine id", story.machineId ?? ""],
  ];
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== "")
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{name === "Group" ? <a href={href.group(value)}>{value}</a> : value}</dd>
          </div>
        ))}
    </dl>
  );
}

function Slots({ story }: { story: Story }) {
  return (
    <section aria-labelledby="story-slots">
      <h3 id="story-slots">Slots on its disk</h3>
      <ul class="disk">
        {story.slots.map(({ name, version, running, priority, tries, successful }) => (
          <li key={name} class={running ? "running" : ""}>
            <b>{name}</b> {version ?? "empty"}
            {running && <Badge sign="▸" label="running" tone="good" />}
            <span class="note">
              priority {priority}, tries {tries}, {successful ? "marked good" : "not marked good"}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Transitions({ story }: { story: Story }) {
  return (
    <section aria-labelledby="story-transitions">
      <h3 id="story-transitions">What happened</h3>
      {story.transitions.length === 0 ? (
        <p class="empty">Nothing yet.</p>
      ) : (
        <ol class="transitions" reversed>
          {story.transitions.map(({ step, time, reason, message }) => (
            <li key={`${time} ${step} ${reason}`}>
              <span class="when">
                <Ago time={time} />
              </span>{" "}
              <b>{step}</b> {reason}
              {message !== "" && <p>{message}</p>}
            </li>
          ))}
        </ol>
      )}
      {story.failed.map(({ release, time, reason, message }) => (
        <p key={`${release} ${time}`} class="bad">
          {release} failed here <Ago time={time} />: {reason}. {message}
        </p>
      ))}
    </section>
  );
}
