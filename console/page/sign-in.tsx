/** For whom the gateway does not know: a token of Kubernetes, or the identity provider. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { SignInWays } from "../contract.ts";
import { api, Refused } from "./api.ts";

export function SignIn({ note, onSignedIn }: { note: string | undefined; onSignedIn: () => void }) {
  const [ways, setWays] = useState<SignInWays | undefined>(undefined);
  const [token, setToken] = useState("");
  const [refused, setRefused] = useState<string | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = "Sign in - Slipway";
    api.ways().then(setWays, (error: unknown) => setRefused(said(error)));
    heading.current?.focus();
  }, []);
  const send = async (): Promise<void> => {
    setBusy(true);
    try {
      await api.signIn(token.trim());
      setToken("");
      onSignedIn();
    } catch (error) {
      setRefused(said(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <main class="sign-in">
      <h1 ref={heading} tabIndex={-1}>
        Slipway
      </h1>
      <p>Sign in to see the fleet. What you may change is what Kubernetes lets you.</p>
      {note !== undefined && <p class="note">{note}</p>}
      {refused !== undefined && (
        <p role="alert" class="refusal">
          {refused}
        </p>
      )}
      {ways?.oidc !== undefined && (
        <p>
          <a
            class="button primary"
            href={`${ways.oidc.url}?back=${encodeURIComponent(location.pathname + location.hash)}`}
          >
            Sign in with {ways.oidc.name}
          </a>
        </p>
      )}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <label class="field">
          Kubernetes token
          <textarea
            required
            rows={4}
            spellcheck={false}
            autocomplete="off"
            autocapitalize="off"
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        <p class="note">
          <code>kubectl create token NAME --duration 8h</code> prints one of a service account. It is not kept
          in this page.
        </p>
        <button type="submit" class="primary" disabled={busy}>
          {busy ? "Signing in …" : "Sign in"}
        </button>
      </form>
    </main>
  );
}

function said(error: unknown): string {
  return error instanceof Refused ? error.message : String(error);
}
