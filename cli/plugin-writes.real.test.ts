/** The plugin as kubectl finds it on the PATH, against the real API server: what it writes. */
import { expect, inject, test, vi } from "vitest";
import type { Channel } from "../api/channel.ts";
import type { NodeUpdate } from "../api/node-update.ts";
import type { UpdateGroup } from "../api/update-group.ts";
import { MachineCredentials } from "../pki/machine-credentials.ts";
import type { Node } from "../runtime/core.ts";
import { pluginWith, soon, staged } from "../test/kubectl-plugin.ts";
import { withClient } from "./connection.ts";
import { fakeIo } from "./fake-io.ts";
import { runPlugin } from "./program.ts";
import { askToFree } from "./steal.ts";

const plugin = pluginWith("pen", "fedcba9876543210fedcba9876543210");

test("hold and unhold", async () => {
  expect(await plugin.slipway("node", "hold", "pen-1", "--reason", "its  disk\nclicks")).toMatchObject({
    code: 0,
    out: "node/pen-1 held\n",
  });
  expect((await plugin.get<Node>("node", "pen-1")).metadata.annotations?.["slipway.dev/hold"]).toBe(
    "its disk clicks",
  );
  expect((await plugin.slipway("node", "reboot", "pen-1", "--now", "--reason", "x")).err).toContain(
    "is held (its disk clicks)",
  );
  await plugin.slipway("node", "unhold", "pen-1");
  expect((await plugin.get<Node>("node", "pen-1")).metadata.annotations).not.toHaveProperty([
    "slipway.dev/hold",
  ]);
  await plugin.slipway(
    "node",
    "hold",
    "fedcba9876543210fedcba9876543210",
    "--reason",
    "moved to another rack",
  );
  const machine = await plugin.get<NodeUpdate>("nodeupdate", "machine-fedcba987654");
  expect(machine.metadata.annotations?.["slipway.dev/hold"]).toBe("moved to another rack");
});

test("a reboot is asked for, with a reason, and only with --now", async () => {
  expect((await plugin.slipway("node", "reboot", "pen-1", "--reason", "x")).code).toBe(1);
  const asked = async (...more: string[]): Promise<NodeUpdate["metadata"]["annotations"]> => {
    await plugin.slipway("node", "reboot", "pen-1", "--now", "--reason", "new firmware", ...more);
    return (await plugin.get<NodeUpdate>("nodeupdate", "pen-1")).metadata.annotations;
  };
  expect(await asked("--in-freeze")).toMatchObject({
    "slipway.dev/reboot": "new firmware",
    "slipway.dev/reboot-in-freeze": "yes",
  });
  // Asked again without it, what was said before does not count.
  expect(await asked()).not.toHaveProperty(["slipway.dev/reboot-in-freeze"]);
  await plugin.done("annotate", "nodeupdate", "pen-1", "slipway.dev/reboot-");
});

test("a node may try a release again that failed there", async () => {
  expect((await plugin.slipway("node", "retry", "pen-1")).err).toContain("there is nothing to retry");
  const failed = [
    {
      release: "pen-1.1.0",
      version: "1.1.0",
      rootHash: "b".repeat(64),
      reason: "FellBack",
      message: "",
      time: soon(-2),
    },
  ];
  await plugin.setStatus("nodeupdate", "pen-1", { failed });
  expect((await plugin.slipway("node", "retry", "pen-1")).out).toBe(
    "nodeupdate/pen-1 may try pen-1.1.0 once more\n",
  );
  expect(
    (await plugin.get<NodeUpdate>("nodeupdate", "pen-1")).metadata.annotations?.["slipway.dev/retry"],
  ).toBe("pen-1.1.0");
  await plugin.setStatus("nodeupdate", "pen-1", { failed: [] });
});

test("pause and resume", async () => {
  expect((await plugin.slipway("rollout", "pause", "pen")).out).toBe("updategroup.slipway.dev/pen paused\n");
  expect((await plugin.get<UpdateGroup>("updategroup", "pen")).spec.paused).toBe(true);
  expect((await plugin.slipway("rollout", "resume", "pen")).out).toBe(
    "updategroup.slipway.dev/pen resumed\n",
  );
  expect((await plugin.get<UpdateGroup>("updategroup", "pen")).spec.paused).toBe(false);
  expect((await plugin.slipway("rollout", "pause", "nobody")).err).toContain(
    "there is no UpdateGroup nobody",
  );
});

test("a halt is lifted only where there is one", async () => {
  expect((await plugin.slipway("rollout", "retry", "pen", "--reason", "the mirror was bad")).err).toContain(
    "is not halted",
  );
  const halted = {
    type: "Halted",
    status: "True",
    reason: "FailureThresholdReached",
    message: "1 node failed.",
    lastTransitionTime: soon(-1),
  };
  await plugin.setStatus("updategroup", "pen", { conditions: [halted] });
  await plugin.slipway("rollout", "retry", "pen", "--reason", "the mirror was bad");
  expect(
    (await plugin.get<UpdateGroup>("updategroup", "pen")).metadata.annotations?.["slipway.dev/resume"],
  ).toMatch(/Z the mirror was bad$/);
  await plugin.setStatus("updategroup", "pen", { conditions: [] });
});

test("promote, and back with the permission to downgrade", async () => {
  expect((await plugin.slipway("rollout", "promote", "pen", "pen-9")).err).toContain(
    "there is no Release pen-9",
  );
  expect((await plugin.slipway("rollout", "promote", "pen", "pen-1.0.0", "--dry-run")).out).toContain(
    "runs it already",
  );
  await plugin.setStatus("nodeupdate", "pen-1", { running: "1.1.0", runningRootHash: "b".repeat(64) });
  const dry = await plugin.slipway("rollout", "rollback", "pen", "--dry-run");
  expect(dry.out).toContain("channel.slipway.dev/pen points at pen-1.0.0 (dry run)");
  expect((await plugin.get<Channel>("channel", "pen")).spec.release).toBe("pen-1.1.0");
  await plugin.slipway("rollout", "rollback", "pen");
  expect((await plugin.get<Channel>("channel", "pen")).spec.release).toBe("pen-1.0.0");
  expect(
    (await plugin.get<NodeUpdate>("nodeupdate", "pen-1")).metadata.annotations?.[
      "slipway.dev/allow-downgrade"
    ],
  ).toBe("pen-1.0.0");
  expect((await plugin.slipway("rollout", "promote", "pen", "pen-1.1.0")).out).toBe(
    "channel.slipway.dev/pen promoted to pen-1.1.0\n",
  );
  await plugin.setStatus("nodeupdate", "pen-1", { ...staged });
});

test("a group that only reboots has nothing to roll back, and no release to be forecast", async () => {
  const only = { nodeSelector: { matchLabels: { pen: "only" } }, driver: "sentinel", windows: "Always" };
  const metadata = { name: "pen-sentinel" };
  await plugin.apply({ apiVersion: "slipway.dev/v1alpha1", kind: "UpdateGroup", metadata, spec: only });
  for (const args of [
    ["rollback", "pen-sentinel"],
    ["--dry-run", "pen-sentinel"],
  ]) {
    const { code, err } = await plugin.slipway("rollout", ...args);
    expect([code, err]).toEqual([1, expect.stringContaining("only reboots its nodes (driver sentinel)")]);
  }
  await plugin.done("delete", "updategroup", "pen-sentinel");
});

test("a staged node of a group with strategy Off flips when a person says so", async () => {
  expect((await plugin.slipway("apply", "pen-1")).err).toContain("strategy Coordinated");
  await plugin.done("patch", "updategroup", "pen", "--type=merge", "-p", '{"spec":{"strategy":"Off"}}');
  expect((await plugin.slipway("apply", "pen-1")).out).toBe("nodeupdate/pen-1 may flip to pen-1.1.0\n");
  expect(
    (await plugin.get<NodeUpdate>("nodeupdate", "pen-1")).metadata.annotations?.["slipway.dev/apply"],
  ).toBe("pen-1.1.0");
  await plugin.done(
    "patch",
    "updategroup",
    "pen",
    "--type=merge",
    "-p",
    '{"spec":{"strategy":"Coordinated"}}',
  );
});

test("a slot is freed only after a yes, and when the manager did it", async () => {
  expect((await plugin.slipway("locks", "steal", "pen-1", "--reason", "gone", "--yes")).err).toContain(
    "holds no slot",
  );
  const grant = { nonce: "n1", budgets: ["group/pen"], phase: "Committed", since: soon(-1) };
  await plugin.setStatus("nodeupdate", "pen-1", { step: "Suspect", grant });
  expect((await plugin.slipway("locks", "list")).out).toMatch(/group\/pen +1 +0 +pen-1 \(Suspect 60m\)/);
  const unasked = await plugin.slipway("locks", "steal", "pen-1", "--reason", "gone");
  expect([unasked.code, unasked.err]).toEqual([1, expect.stringContaining("give --yes")]);
  const steal = plugin.slipway("locks", "steal", "pen-1", "--reason", "it burnt", "--yes");
  await expect
    .poll(
      async () =>
        (await plugin.get<NodeUpdate>("nodeupdate", "pen-1")).metadata.annotations?.["slipway.dev/steal"],
      { timeout: 30_000 },
    )
    .toBe("it burnt (grant n1)");
  await plugin.setStatus("nodeupdate", "pen-1", { step: "Staged", grant: null });
  expect(await steal).toMatchObject({ code: 0, out: "nodeupdate/pen-1 slot freed\n" });
});

test("a slot that was taken while a person thought is not freed", async () => {
  const grant = { nonce: "n2", budgets: ["group/pen"], phase: "Committed", since: soon(-1) };
  const annotated = async () =>
    (await plugin.get<NodeUpdate>("nodeupdate", "pen-1")).metadata.annotations?.["slipway.dev/steal"];
  const before = await annotated();
  const env = { KUBECONFIG: inject("kubeconfig") };
  for (const [next, now] of [
    [{ ...grant, nonce: "n3" }, "it holds another one now"],
    [null, "it holds none now"],
  ] as const) {
    await plugin.setStatus("nodeupdate", "pen-1", { grant });
    const io = fakeIo({
      env,
      ask: async () => {
        await plugin.setStatus("nodeupdate", "pen-1", { grant: next });
        return "yes";
      },
    });
    expect(await runPlugin(["locks", "steal", "pen-1", "--reason", "gone"], io)).toBe(1);
    expect(io.written.err).toContain(`ended meanwhile, and ${now}: nothing was changed`);
  }
  // Between its look and its write too.
  await plugin.setStatus("nodeupdate", "pen-1", { grant });
  const asked = withClient({}, fakeIo({ env }), (client) => {
    const get: typeof client.get = async (...key) => {
      const found = await client.get<never>(...key);
      await plugin.setStatus("nodeupdate", "pen-1", { grant: { ...grant, nonce: "n3" } });
      return found;
    };
    return askToFree({ get, patch: client.patch.bind(client) }, "pen-1", "n2", "gone");
  });
  await expect(asked).rejects.toThrow("was changed while its slot was to be freed: nothing was changed");
  expect(await annotated()).toBe(before);
  await plugin.setStatus("nodeupdate", "pen-1", { grant: null });
});

test("locks: a node is held, a machine gets a slot and loses it, as locksmithctl does it", async () => {
  const lock = (id: string) => plugin.slipway("locks", "lock", "pen", id, "--reason", "its fan is loud");
  expect((await lock("pen-1")).out).toBe("node/pen-1 held\n");
  expect((await plugin.slipway("locks", "unlock", "pen", "pen-1", "--reason", "quiet again")).out).toBe(
    "node/pen-1 unheld\n",
  );
  expect((await lock("rack-7")).err).toContain("serves no machines without our agent");
  expect((await plugin.slipway("locks", "lock", "none", "x", "--reason", "y")).err).toContain("there is no");
  await plugin.done("patch", "updategroup", "pen", "--type=merge", "-p", '{"spec":{"machines":{}}}');
  const locked = lock("rack-7");
  await done("slipway.dev/lock-machine", "rack-7: its fan is loud");
  expect((await locked).out).toBe("updategroup/pen slot taken for rack-7\n");
  expect((await plugin.slipway("locks", "unlock", "pen", "rack-7", "--reason", "x", "--yes")).err).toContain(
    "rack-7 holds no slot of pen",
  );
});

test("locks set-max is the group's limit; 0 pauses it; what another declares stays", async () => {
  const setMax = (...more: string[]) => plugin.slipway("locks", "set-max", "pen-max", ...more);
  const spec = async () => (await plugin.get<UpdateGroup>("updategroup", "pen-max")).spec;
  const declare = async (more: object): Promise<void> => {
    const only = { nodeSelector: { matchLabels: { pen: "max" } }, driver: "sentinel", windows: "Always" };
    const metadata = { name: "pen-max" };
    const made = { apiVersion: "slipway.dev/v1alpha1", kind: "UpdateGroup", metadata };
    await plugin.apply({ ...made, spec: { ...only, ...more } });
  };
  await declare({});
  expect((await setMax("many")).err).toContain("many is no number");
  // What it has by default nobody declared.
  expect((await setMax("2")).out).toBe("updategroup/pen-max old max 1, max 2\n");
  expect((await spec()).maxUnavailable).toBe(2);
  expect((await setMax("0")).out).toBe("updategroup/pen-max paused: max 0\n");
  expect(await spec()).toMatchObject({ paused: true, maxUnavailable: 2 });
  expect((await setMax("2")).err).toContain("rollout resume pen-max");
  await plugin.done("delete", "updategroup", "pen-max");
  await declare({ maxUnavailable: 4 });
  const declared = await setMax("3");
  expect(declared).toMatchObject({ code: 1 });
  expect(declared.err).toContain(
    "spec.maxUnavailable of UpdateGroup pen-max belongs to kubectl-client-side-apply: change it there",
  );
  expect((await setMax("3", "--force")).out).toBe("updategroup/pen-max old max 4, max 3\n");
  // A pause is a field like another.
  expect((await setMax("0")).out).toBe("updategroup/pen-max paused: max 0\n");
  await declare({ paused: false });
  const unpaused = await setMax("0");
  expect(unpaused).toMatchObject({ code: 1, out: "" });
  expect(unpaused.err).toContain("spec.paused of UpdateGroup pen-max belongs to kubectl-client-side-apply");
  expect((await spec()).paused).toBe(false);
  expect((await setMax("0", "--force")).out).toBe("updategroup/pen-max paused: max 0\n");
  // It says already what is asked for.
  await declare({ paused: true });
  expect((await setMax("0")).code).toBe(0);
  await plugin.done("delete", "updategroup", "pen-max");
});

test("a machine without our agent may be offered again what failed on it", async () => {
  const id = "0123456789abcdef0123456789abcdef";
  const retry = (...more: string[]) => plugin.slipway("machines", "retry", "pen", ...more);
  expect((await retry()).err).toContain("name one machine, or give --all");
  expect((await retry(id, "--all")).err).toContain("name one machine, or give --all");
  const asked = retry(id, "--reason", "the mirror was broken");
  await done("slipway.dev/retry-machine", `${id}: the mirror was broken`);
  expect((await asked).out).toContain(`may offer again to ${id}`);
  expect((await retry("--all")).code).toBe(0);
  const { annotations = {} } = (await plugin.get<UpdateGroup>("updategroup", "pen")).metadata;
  expect(Date.parse(annotations["slipway.dev/retry-machines"] ?? "")).toBeGreaterThan(Date.now() - 60_000);
});

test("secrets of groups, machines and key spaces are those that gateways take", async () => {
  const key = Buffer.alloc(32, 7);
  const metadata = { name: "pen-machines", namespace: "default" };
  const secret = { apiVersion: "v1", kind: "Secret", metadata };
  await plugin.apply({ ...secret, stringData: { keys: key.toString("base64") } });
  const print = (...more: string[]) =>
    plugin.slipway("machines", "secret", ...more, "--secret-name", "pen-machines", "--namespace", "default");
  const taken = new MachineCredentials([key]);
  expect(taken.accepts({ secret: (await print("pen")).out.trim() }, "pen", "")).toBe(true);
  const own = (await print("pen", "--machine", "rack-7")).out.trim();
  expect(["rack-7", "rack-8"].map((machine) => taken.accepts({ secret: own }, "pen", machine))).toEqual([
    true,
    false,
  ]);
  expect(await print("registry/fleet")).toEqual({
    code: 0,
    out: `${taken.secret("registry/fleet")}\n`,
    err: "",
  });
  expect((await print("registry/fleet", "--machine", "rack-7")).err).toContain("leave --machine out");
  expect((await print("none")).err).toContain("there is no UpdateGroup none");
  await plugin.done("delete", "secret", "pen-machines", "--namespace", "default");
});

/** What a manager does with a person's word: it takes it away. */
async function done(annotation: string, word: string): Promise<void> {
  await vi.waitFor(
    async () => {
      const { metadata } = await plugin.get<UpdateGroup>("updategroup", "pen");
      expect(metadata.annotations?.[annotation]).toBe(word);
    },
    { timeout: 20_000, interval: 200 },
  );
  await plugin.done("annotate", "updategroup", "pen", `${annotation}-`);
}
