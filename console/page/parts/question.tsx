/** The dialog before every write: what will happen, perhaps why, then what became of it. */
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Done } from "../../contract.ts";
import { api, Refused } from "../api.ts";
import { useApp } from "../app-context.ts";

export interface Question {
  title: string;
  /** What will happen, a sentence each. */
  consequences: readonly string[];
  /** The words on the button that does it. */
  confirm: string;
  danger?: boolean;
  /** Asked for where the write keeps it. */
  reason?: string;
  /** Below api/v1. */
  path: string;
  body?: object;
  /** Whether the write knows `force`: a field that another manager owns. */
  forcible?: boolean;
  choice?: {
    label: string;
    options: readonly string[];
    /** Where it goes in the body. */
    field: string;
    consequences: (chosen: string) => readonly string[];
  };
}

type Stand =
  | { step: "asked" | "sent" }
  | { step: "refused"; refusal: Refused }
  | { step: "done"; done: Done };

const LONGEST_REASON = 200;

/** One for the whole page. */
export function QuestionDialog() {
  const { question } = useApp();
  const current = question.value;
  return current === undefined ? null : <Asked key={current.path} question={current} />;
}

function Asked({ question }: { question: Question }) {
  const app = useApp();
  const box = useRef<HTMLDialogElement>(null);
  const [stand, setStand] = useState<Stand>({ step: "asked" });
  const [reason, setReason] = useState("");
  const [force, setForce] = useState(false);
  const [chosen, setChosen] = useState(question.choice?.options[0] ?? "");
  const title = useId();
  useEffect(() => {
    const before = document.activeElement;
    box.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  const finish = useRef<HTMLButtonElement>(null);
  // Before the next key: the button that had the focus is gone.
  useLayoutEffect(() => {
    if (stand.step === "done") finish.current?.focus();
  }, [stand.step]);
  const consequences = [...question.consequences, ...(question.choice?.consequences(chosen) ?? [])];
  const send = async (): Promise<void> => {
    setStand({ step: "sent" });
    const body = {
      ...question.body,
      ...(question.reason === undefined ? {} : { reason: reason.trim() }),
      ...(question.choice === undefined ? {} : { [question.choice.field]: chosen }),
      ...(force ? { force } : {}),
    };
    try {
      const done = await api.write(question.path, body);
      setStand({ step: "done", done });
      app.announcer.say("write", done.message);
    } catch (error) {
      const refusal =
        error instanceof Refused ? error : new Refused({ error: "Unavailable", message: String(error) });
      setStand({ step: "refused", refusal });
    }
  };
  const owned = stand.step === "refused" && stand.refusal.problem.error === "Owned";
  return (
    <dialog
      ref={box}
      aria-labelledby={title}
      class="question"
      onClose={() => {
        app.question.value = undefined;
      }}
    >
      <form
        method="dialog"
        onSubmit={(event) => {
          if (stand.step === "done") return;
          event.preventDefault();
          void send();
        }}
      >
        <h2 id={title}>{question.title}</h2>
        {stand.step === "done" ? (
          <Outcome done={stand.done} />
        ) : (
          <>
            {question.choice !== undefined && (
              <label class="field">
                {question.choice.label}
                <select value={chosen} onChange={(event) => setChosen(event.currentTarget.value)}>
                  {question.choice.options.map((option) => (
                    <option key={option}>{option}</option>
                  ))}
                </select>
              </label>
            )}
            <p class="lead">What will happen:</p>
            <ul>
              {consequences.map((sentence) => (
                <li key={sentence}>{sentence}</li>
              ))}
            </ul>
            {question.reason !== undefined && (
              <label class="field">
                {question.reason}
                <textarea
                  required
                  rows={2}
                  maxLength={LONGEST_REASON}
                  value={reason}
                  onInput={(event) => setReason(event.currentTarget.value)}
                />
              </label>
            )}
            {stand.step === "refused" && (
              <p role="alert" class="refusal">
                {stand.refusal.message}
              </p>
            )}
            {owned && question.forcible === true && (
              <label class="check">
                <input
                  type="checkbox"
                  checked={force}
                  onChange={(event) => setForce(event.currentTarget.checked)}
                />
                Take the field all the same. Whoever owns it may set it back.
              </label>
            )}
          </>
        )}
        <div class="buttons">
          {stand.step === "done" ? (
            <button ref={finish} type="submit" class="primary">
              Close
            </button>
          ) : (
            <>
              <button type="button" onClick={() => box.current?.close()}>
                Cancel
              </button>
              <button
                type="submit"
                class={question.danger ? "danger" : "primary"}
                disabled={stand.step === "sent"}
              >
                {stand.step === "sent" ? "Sending …" : question.confirm}
              </button>
            </>
          )}
        </div>
      </form>
    </dialog>
  );
}

function Outcome({ done }: { done: Done }) {
  const failed = done.machines?.filter((machine) => !machine.done) ?? [];
  return (
    <div class="outcome">
      <p role="status">{done.message}</p>
      {(done.notes.length > 0 || failed.length > 0) && (
        <ul>
          {done.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
          {failed.map(({ uid, message }) => (
            <li key={uid}>{message}</li>
          ))}
        </ul>
      )}
      <p>
        The same with kubectl: <code>{done.kubectl}</code>
      </p>
    </div>
  );
}
