/** The plugin as kubectl finds it on the PATH, against the real API server: what it shows, makes and checks. */
import { readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, expect, inject, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import type { Release } from "../api/release.ts";
import { pluginWith } from "../test/kubectl-plugin.ts";

const plugin = pluginWith("plug", "0123456789abcdef0123456789abcdef");

describe("kubectl finds it", () => {
  test("and lists it without a complaint", async () => {
    const { out, err } = await plugin.run(["plugin", "list"]);
    expect(out).toContain(join(plugin.folder, "bin", "kubectl-slipway"));
    expect(err).toBe("");
  });

  test("its usage names kubectl", async () => {
    const { code, out } = await plugin.slipway("rollout", "pause", "--help");
    expect(out).toMatch(/^Usage: kubectl slipway rollout pause \[options\] <group>\n/);
    expect(out).toContain("--context");
    expect(code).toBe(0);
  });

  test("a wrong call ends with 1, and says where the right one stands", async () => {
    const { code, out, err } = await plugin.slipway("whi", "plug-1");
    expect([code, out]).toEqual([1, ""]);
    expect(err).toContain("Did you mean why?");
    expect(err).toContain("kubectl slipway --help");
  });

  test("kubectl completes its commands and the names of objects", async () => {
    expect((await plugin.run(["__complete", "slipway", "roll"])).out).toContain("rollout\n");
    expect((await plugin.run(["__complete", "slipway", "why", "plug-a"])).out).toContain("plug-alone\n");
    expect(
      (await plugin.run(["__complete", "slipway", "rollout", "promote", "plug", "plug-1.0"])).out,
    ).toContain("plug-1.0.0\n");
  });
});

describe("which cluster", () => {
  test("--kubeconfig, KUBECONFIG as a list, --context", async () => {
    const other = join(plugin.folder, "other.yaml");
    writeFileSync(
      other,
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        clusters: [{ name: "dead", cluster: { server: "https://127.0.0.1:1" } }],
        users: [{ name: "nobody", user: {} }],
        contexts: [{ name: "dead", context: { cluster: "dead", user: "nobody" } }],
        "current-context": "dead",
      }),
    );
    const both = { KUBECONFIG: `${inject("kubeconfig")}${delimiter}${other}` };
    expect((await plugin.run(["slipway", "why", "plug-alone"], { env: both })).code).toBe(0);
    const unknown = await plugin.run(["slipway", "why", "plug-alone", "--context", "nowhere"], { env: both });
    expect(unknown.err).toMatch(/there is no context nowhere; it has .*dead/);
    const flag = await plugin.slipway("why", "x", "--kubeconfig", join(plugin.folder, "none"));
    expect([flag.code, flag.err]).toEqual([1, expect.stringContaining("correct --kubeconfig")]);
  });
});

describe("what it shows", () => {
  test("why a node waits, as text and as JSON", async () => {
    const { out } = await plugin.slipway("why", "plug-1");
    expect(out).toMatch(/^No manager .*plug-1 has 1\.1\.0 staged and waits for a reboot window/);
    expect(out).toContain("kubectl slipway windows next plug");
    const { situation, facts } = JSON.parse((await plugin.slipway("why", "plug-1", "-o", "json")).out) as {
      situation: string;
      facts: unknown[];
    };
    expect(situation).toBe("ManagerAway");
    expect(facts.length).toBeGreaterThan(3);
    expect((await plugin.slipway("why", "plug-alone")).out).toContain("plug-alone is left alone by Slipway");
  });

  test("a node that does not exist", async () => {
    expect(await plugin.slipway("why", "plug-9")).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringMatching(/^error: there is no Node, NodeUpdate or machine id plug-9: /),
    });
  });

  test("the board", async () => {
    const { out } = await plugin.slipway("status", "plug");
    expect(out).toContain("group plug: target plug-1.1.0");
    expect(out).toMatch(/plug-1 .*Staged .*WaitingForWindow: No window is open\./);
    expect((await plugin.slipway("status", "plug", "-o", "name")).out).toBe(
      "updategroup.slipway.dev/plug\nnodeupdate.slipway.dev/machine-0123456789ab\nnodeupdate.slipway.dev/plug-1\n",
    );
    const status = JSON.parse((await plugin.slipway("rollout", "status", "plug", "-o", "json")).out) as {
      items: unknown[];
    };
    expect(status.items).toHaveLength(3);
    const list = parse((await plugin.slipway("status", "plug", "-o", "yaml")).out) as {
      kind: string;
      items: unknown[];
    };
    expect([list.kind, list.items.length]).toEqual(["List", 3]);
  });

  test("the board, as it changes, one line a change where no terminal is", async () => {
    const lines: string[] = [];
    const watch = plugin.start(["slipway", "status", "plug", "--watch"], (line) => lines.push(line));
    await expect
      .poll(() => lines, { timeout: 30_000 })
      .toContainEqual(expect.stringContaining("plug-1 zone="));
    await plugin.setStatus("nodeupdate", "plug-1", { message: "No window is open for two hours." });
    await expect.poll(() => lines.at(-1), { timeout: 30_000 }).toContain("for two hours");
    expect(lines.filter((line) => line.startsWith("plug-1 "))).toHaveLength(2);
    watch.kill("SIGINT");
    expect(await new Promise((fulfil) => watch.once("exit", fulfil))).toBe(0);
    await plugin.setStatus("nodeupdate", "plug-1", { message: "No window is open." });
  });

  test("the next openings", async () => {
    const { out } = await plugin.slipway("windows", "next", "plug", "-o", "wide");
    expect(out.split("\n")[1]).toMatch(/^plug +next +\S+Z +\d+h?\w* +\S+Z +2h +plug/);
  });

  test("plain machines", async () => {
    expect((await plugin.slipway("machines", "-o", "wide")).out).toMatch(
      /machine-0123456789ab +plug .* 0123456789abcdef0123456789abcdef/,
    );
  });

  test("what a rollout would do", async () => {
    const { out, code } = await plugin.slipway("rollout", "--dry-run", "plug");
    expect(code).toBe(0);
    expect(out).toContain("UpdateGroup plug to Release plug-1.1.0: 1 node would move, nothing was changed.");
    expect(out).toMatch(/rest +plug-1 +1\.0\.0 +1\.1\.0 +\S+Z \(in 2h5\dm\)/);
    expect(out).toMatch(/machine-0123456789ab .*stays +its agent is away/);
  });
});

describe("releases", () => {
  test("from an image to the cluster: built, signed, verified, published", async () => {
    const at = (name: string): string => join(plugin.folder, name);
    writeFileSync(at("os.img"), Buffer.alloc(64 * 1024, 7));
    await plugin.done("slipway", "release", "keygen", at("key"));
    const args = [
      "--out",
      at("out"),
      "--product",
      "made",
      "--version",
      "1.2.0",
      "--architecture",
      "amd64",
      "--url",
      "https://mirror.example/1.2.0",
    ];
    await plugin.done(
      "slipway",
      "release",
      "create",
      at("os.img"),
      ...args,
      "--key",
      at("key.key"),
      "--apply",
    );
    const release = await plugin.get<Release>("release", "made-1.2.0");
    expect(release.spec.payloads[0]?.signatures).toHaveLength(1);
    expect(
      await plugin.done(
        "slipway",
        "release",
        "verify",
        at("out/release.yaml"),
        "--trust",
        at("key.trust.json"),
      ),
    ).toContain("blocks are right");
    expect(
      (await plugin.run(["slipway", "release", "create", at("os.img"), ...args, "--apply"])).err,
    ).toContain("a Release never changes");
  });
});

describe("doctor", () => {
  test("an API server without a manager: what is right, what is wrong, and 1", async () => {
    const { code, out, err } = await plugin.slipway("doctor", "-n", "slipway-nowhere");
    expect(out).toMatch(/^ok +crds +all 6 kinds are there, as this build knows them\.$/m);
    expect(out).toMatch(/^fail +leader +no manager has ever led in namespace slipway-nowhere\.$/m);
    expect(out).toContain("-> ");
    expect([code, err]).toEqual([1, expect.stringContaining("something is wrong")]);
    const lines = JSON.parse((await plugin.slipway("doctor", "-o", "json", "-n", "slipway-nowhere")).out) as {
      level: string;
    }[];
    expect(lines.some(({ level }) => level === "fail")).toBe(true);
  });
});

describe("migrate", () => {
  test("kured, from the cluster", async () => {
    const manifest = readFileSync(new URL("testdata/migrate/kured.yaml", import.meta.url), "utf8");
    await plugin.done("create", "namespace", "plug-kured");
    try {
      await plugin.run(["apply", "-n", "plug-kured", "-f", "-"], { input: manifest });
      const { out, code } = await plugin.slipway("migrate", "kured", "-n", "plug-kured");
      expect(code).toBe(0);
      const dry = await plugin.run(["apply", "--dry-run=server", "-f", "-"], { input: out });
      expect(dry.err).toBe("");
      expect(dry.out).toContain("rebootwindow.slipway.dev/kured created (server dry run)");
      expect(parseAllDocuments(out)).toHaveLength(2);
    } finally {
      await plugin.run(["delete", "namespace", "plug-kured", "--wait=false"]);
    }
  });

  test("what is not there", async () => {
    expect(await plugin.slipway("migrate", "brupop", "-n", "kube-public")).toMatchObject({
      code: 1,
      err: expect.stringContaining("was not found in the cluster"),
    });
  });
});
