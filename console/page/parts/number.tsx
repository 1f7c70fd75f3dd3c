/** A number that shows, when it is pressed, the kubectl command that shows the same. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useApp } from "../app-context.ts";
import { count } from "../format.ts";

/** `of`: what is counted, for those who do not see what stands beside it. */
export function Num({ value, of, command }: { value: number; of: string; command: string }) {
  const { shown } = useApp();
  return (
    <button
      type="button"
      class="num"
      data-command={command}
      aria-haspopup="dialog"
      aria-label={`${count(value)} ${of}, show the command`}
      onClick={(event) => {
        shown.value = { command, by: event.currentTarget };
      }}
    >
      {count(value)}
    </button>
  );
}

/** A button that shows the command of a whole table or view. */
export function CommandButton({ command, of }: { command: string; of: string }) {
  const { shown } = useApp();
  return (
    <button
      type="button"
      class="quiet command-button"
      data-command={command}
      aria-haspopup="dialog"
      aria-label={`kubectl command for ${of}`}
      onClick={(event) => {
        shown.value = { command, by: event.currentTarget };
      }}
    >
      kubectl
    </button>
  );
}

const GAP = 6;

/** One for the whole page. */
export function CommandPopover() {
  const { shown } = useApp();
  const box = useRef<HTMLDivElement>(null);
  const [copied, setCopied] = useState(false);
  const current = shown.value;
  useEffect(() => {
    const element = box.current;
    if (element === null || current === undefined) return;
    setCopied(false);
    element.showPopover();
    place(element, current.by.getBoundingClientRect());
    element.querySelector("button")?.focus();
  }, [current]);
  return (
    <div
      ref={box}
      popover="auto"
      role="dialog"
      aria-label="The same with kubectl"
      class="command-popover"
      onToggle={(event) => {
        if (event.newState !== "closed") return;
        current?.by.focus();
        shown.value = undefined;
      }}
    >
      <code tabIndex={0}>{current?.command}</code>
      <button
        type="button"
        onClick={() => {
          void copy(current?.command ?? "", box.current?.querySelector("code") ?? undefined).then(setCopied);
        }}
      >
        {copied ? "Copied" : "Copy"}
      </button>
    </div>
  );
}

function place(element: HTMLElement, at: DOMRect): void {
  const { width, height } = element.getBoundingClientRect();
  const left = Math.max(GAP, Math.min(at.left, innerWidth - width - GAP));
  const below = at.bottom + GAP + height < innerHeight;
  element.style.left = `${left}px`;
  element.style.top = `${Math.max(GAP, below ? at.bottom + GAP : at.top - height - GAP)}px`;
}

/** The clipboard is there for HTTPS and localhost only; elsewhere the text is selected, and copied the old way. */
async function copy(text: string, element: HTMLElement | undefined): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    if (element === undefined) return false;
    getSelection()?.selectAllChildren(element);
    return document.execCommand("copy");
  }
}
