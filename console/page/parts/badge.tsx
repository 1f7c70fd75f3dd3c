/** States in a word and a sign. */
import type { Group } from "../../contract.ts";
import { LOOKS, type Mark } from "../mark.ts";

const GROUP_LOOKS: Readonly<Record<Group["state"], { sign: string; label: string; tone: string }>> = {
  Halted: { sign: "✕", label: "Halted", tone: "bad" },
  Paused: { sign: "‖", label: "Paused", tone: "hold" },
  Waiting: { sign: "…", label: "Waiting", tone: "wait" },
  Updating: { sign: "↻", label: "Updating", tone: "move" },
  UpToDate: { sign: "✓", label: "Up to date", tone: "good" },
  Off: { sign: "–", label: "Off", tone: "wait" },
};

export function GroupBadge({ state }: { state: Group["state"] }) {
  const { sign, label, tone } = GROUP_LOOKS[state];
  return <Badge sign={sign} label={label} tone={tone} />;
}

export function Badge({ sign, label, tone }: { sign: string; label: string; tone: string }) {
  return (
    <span class={`badge ${tone}`}>
      <span aria-hidden="true" class="sign">
        {sign}
      </span>
      {label}
    </span>
  );
}

export function MarkSign({ mark }: { mark: Mark }) {
  return (
    <span aria-hidden="true" class={`mark ${mark}`}>
      {LOOKS[mark].glyph}
    </span>
  );
}

export function MarkName({ mark }: { mark: Mark }) {
  return (
    <span class="mark-name">
      <MarkSign mark={mark} />
      {LOOKS[mark].label}
    </span>
  );
}
