import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { RebootWindowSpec } from "../../api/reboot-window.ts";
import { UpdateGroupSpec } from "../../api/update-group.ts";
import { parseStart } from "../../controllers/window/start.ts";
import { fromBrupop } from "./brupop.ts";
import { fromFluo } from "./fluo.ts";
import { fromKured, isKured } from "./kured.ts";
import { patternsOf, selectorOf } from "./kured-blockers.ts";
import { goSeconds, type Plan, planText } from "./plan.ts";
import { type Loose, readManifests } from "./workload.ts";

function read(file: string): Loose[] {
  return readManifests(readFileSync(new URL(`../testdata/migrate/${file}.yaml`, import.meta.url), "utf8"));
}

/** Reads what is printed as kubectl would, and parses it with our schemas. */
function parsed(plan: Plan): { group: UpdateGroupSpec; window: RebootWindowSpec | undefined } {
  const objects = parseAllDocuments(planText(plan), { version: "1.1" }).map(
    (document) =>
      (document as { toJS(): unknown }).toJS() as {
        kind: string;
        metadata: { labels?: object };
        spec: unknown;
      },
  );
  const [group, window] = objects;
  const spec = UpdateGroupSpec.parse(group?.spec);
  if (window === undefined) return { group: spec, window: undefined };
  const opening = RebootWindowSpec.parse(window.spec);
  expect(parseStart(opening.start)).not.toHaveProperty("reason");
  expect(opening.groupSelector.matchLabels).toEqual(group?.metadata.labels);
  return { group: spec, window: opening };
}

/** kured's DaemonSet with these flags. */
function kured(...args: string[]): Plan {
  const containers = [{ name: "kured", image: "kured:1.23", command: ["/usr/bin/kured"], args, env: [] }];
  return fromKured({
    kind: "DaemonSet",
    metadata: { name: "kured" },
    spec: { template: { spec: { containers } } },
  });
}

describe("kured", () => {
  test("a DaemonSet with most flags", () => {
    const [daemonSet] = read("kured").filter(isKured);
    if (daemonSet === undefined) throw new Error("the manifest has no kured");
    const plan = fromKured(daemonSet);
    const { group, window } = parsed(plan);
    expect(group).toMatchObject({
      driver: "sentinel",
      maxUnavailable: 2,
      windows: "OnlyInWindows",
      settle: "5m",
      holderTTL: "1h",
      drain: { timeout: "20m", onTimeout: "Force", gracePeriod: "2m" },
      nodeSelector: { matchLabels: { "kubernetes.io/os": "linux" } },
    });
    expect(window).toMatchObject({
      start: "Mon,Tue,Wed,Thu 22:00",
      duration: "6h",
      timeZone: "Europe/Berlin",
    });
    expect(plan.lost).toEqual([
      expect.stringContaining("--notify-url slack://...:"),
      expect.stringContaining("--period"),
    ]);
    expect(group.blockers).toMatchObject([
      {
        name: "alerts",
        alerts: { url: "http://prometheus.monitoring", ignore: ["RebootRequired"], pending: true },
      },
      { name: "pods-1", pods: { selector: { matchLabels: { runtime: "long", cost: "expensive" } } } },
      { name: "pods-2", pods: { selector: { matchLabels: { name: "temperamental" } } } },
    ]);
    expect(plan.todo).toContain(
      "Start the agents with --driver sentinel --sentinel-file /var/run/reboot-required.",
    );
    expect(planText(plan)).toContain("# kured asked for the weekday of the moment");
  });

  test("defaults: at any time, one at a time, a command, and a lock that is held", () => {
    const [daemonSet] = read("kured-plain");
    if (daemonSet === undefined) throw new Error("the manifest is empty");
    const plan = fromKured(daemonSet);
    const { group, window } = parsed(plan);
    expect(window).toBeUndefined();
    expect(group).toMatchObject({
      windows: "Always",
      maxUnavailable: 1,
      drain: { timeout: "24h", onTimeout: "Abort" },
    });
    expect(group.nodeSelector.matchLabels).toEqual({ "kubernetes.io/os": "linux", pool: "workers" });
    expect(plan.todo).toEqual([
      expect.stringContaining("! needs-restarting --reboothint"),
      "Wait until kured's lock is free: worker-3 holds it now.",
      expect.stringContaining("kubectl delete daemonset -n kube-system kured"),
    ]);
  });

  test.each([
    [["--start-time=9am", "--end-time=5pm"], { start: "09:00", duration: "8h" }],
    [["--start-time=22:00", "--end-time=23:59:59"], { start: "22:00", duration: "2h" }],
    [["--reboot-days", "sat,sun"], { start: "Sun,Sat 00:00", duration: "24h" }],
    [
      ["--reboot-days=0", "--reboot-days=6", "--start-time=23:30", "--end-time=0:30"],
      { start: "Sun,Sat 23:30", duration: "1h" },
    ],
    [["--time-zone=Local", "--start-time=1:00", "--end-time=2:00"], { start: "01:00", timeZone: "UTC" }],
  ])("%j is %j", (args, window) => {
    expect(parsed(kured(...args)).window).toMatchObject(window);
  });

  test.each([
    ["--drain-timeout=48h", { drain: { timeout: "24h" } }],
    ["--lock-ttl=5m", { holderTTL: "10m" }],
    ["--concurrency=0", { maxUnavailable: 1 }],
  ])("%s stays within what the schema takes", (flag, spec) => {
    expect(parsed(kured(flag)).group).toMatchObject(spec);
  });

  test("alerts that alone block, the taint, a webhook of Slack, and labels that nobody sets", () => {
    const plan = kured(
      "--prometheus-url=https://prometheus:9090",
      "--alert-filter-regexp=^(Ceph.*|DiskFull)$",
      "--alert-filter-match-only",
      "--alert-firing-only=true",
      "--prefer-no-schedule-taint=reboot-pending",
      "--slack-hook-url=https://hooks.slack.test/T/B/X",
      "--pre-reboot-node-labels=state=down",
    );
    expect(parsed(plan).group).toMatchObject({
      blockers: [
        {
          name: "alerts",
          alerts: { url: "https://prometheus:9090", only: ["Ceph*", "DiskFull"], pending: false },
        },
      ],
      preferNoSchedule: true,
      notifications: { url: "https://hooks.slack.test/T/B/X", signingKey: "kured" },
    });
    expect(plan.lost).toContainEqual(
      expect.stringContaining("--pre-reboot-node-labels state=down: a label is set by a hook only while"),
    );
    expect(plan.todo).toContainEqual(expect.stringContaining("--webhook-keys"));
  });

  test("a filter that is no list of names, a Prometheus with a password, and too many selectors", () => {
    const filtered = kured("--prometheus-url=http://p", "--alert-filter-regexp=^(?i)watchdog$");
    expect(parsed(filtered).group.blockers).toMatchObject([{ alerts: { pending: true } }]);
    expect(filtered.lost).toContainEqual(expect.stringContaining("every alert blocks"));
    const open = kured("--prometheus-url=http://me:secret@p");
    expect(parsed(open).group.blockers).toBeUndefined();
    expect(open.lost).toContainEqual(expect.stringContaining("without a password"));
    const many = kured(...Array.from({ length: 9 }, (_, index) => `--blocking-pod-selector=app=a${index}`));
    expect(parsed(many).group.blockers).toHaveLength(8);
    expect(many.lost).toContain("Blocker pods-9: a group has 8 blockers at most.");
    expect(kured("--blocking-pod-selector=a in (b").lost).toContainEqual(
      expect.stringContaining("can't be read"),
    );
  });

  test.each([
    ["^RebootRequired$", ["RebootRequired"]],
    ["^Watchdog$|^Info", ["Watchdog", "Info*"]],
    ["Disk.*Full", ["*Disk*Full*"]],
    ["^(?:A|B)$", ["A", "B"]],
    ["^.*$", ["*"]],
    ["Node[0-9]", undefined],
    ["^9Lives$", undefined],
    ["(A|B)C", undefined],
    ["", undefined],
  ])("the filter %j names %j", (expression, names) => {
    expect(patternsOf(expression)).toEqual(names);
  });

  test.each([
    ["a=b,c==d", { matchLabels: { a: "b", c: "d" } }],
    [
      "x.io/a!=b, tier in (x, y),  tier notin (z)",
      {
        matchExpressions: [
          { key: "x.io/a", operator: "NotIn", values: ["b"] },
          { key: "tier", operator: "In", values: ["x", "y"] },
          { key: "tier", operator: "NotIn", values: ["z"] },
        ],
      },
    ],
    [
      "job,!done",
      {
        matchExpressions: [
          { key: "job", operator: "Exists" },
          { key: "done", operator: "DoesNotExist" },
        ],
      },
    ],
    ["a=b,a=c", undefined],
    ["", undefined],
    ["a in (b", undefined],
  ])("the selector %j", (text, selector) => {
    expect(selectorOf(text)).toEqual(selector);
  });

  test("what is not known is named", () => {
    expect(kured("--brand-new=1", "--start-time=dawn").lost).toEqual([
      expect.stringContaining("--start-time and --end-time: they can't be read"),
      expect.stringContaining("--drain-timeout 0"),
      "--brand-new: not known here.",
    ]);
  });
});

describe("FLUO", () => {
  test("operator, agent, and Nodes that a person paused", () => {
    const objects = read("fluo");
    const plan = fromFluo(
      objects,
      objects.filter(({ kind }) => kind === "Node"),
    );
    const { group, window } = parsed(plan);
    expect(group).toMatchObject({
      maxUnavailable: 1,
      driver: "sentinel",
      drain: { timeout: "15m", onTimeout: "Force" },
      nodeSelector: { matchLabels: { "flatcar-linux-update.v1.flatcar-linux.net/id": "flatcar" } },
    });
    expect(window).toMatchObject({ start: "Thu 23:00", duration: "3h30m", timeZone: "UTC" });
    expect(plan.todo).toContain('kubectl slipway node hold worker-2 --reason "reboot-paused of FLUO"');
    expect(plan.todo).toContain("Wait until FLUO is done with worker-5, which it reboots now.");
    expect(plan.todo.join()).not.toContain("hold worker-5");
    expect(group).toMatchObject({
      hooks: {
        before: [
          {
            label: {
              key: "flatcar-linux-update.v1.flatcar-linux.net/before-reboot",
              value: "true",
              answers: ["backup.example.org/done"],
              done: "true",
            },
            onFailure: "Stop",
          },
        ],
        after: [],
      },
    });
    expect(plan.lost).toEqual([expect.stringContaining("kube-system")]);
  });

  test("without a window, and with one that can't be read", () => {
    const bare = (args: string[]): Loose => ({
      kind: "Deployment",
      metadata: { name: "flatcar-linux-update-operator" },
      spec: { template: { spec: { containers: [{ name: "o", image: "", command: [], args, env: [] }] } } },
    });
    expect(parsed(fromFluo([bare([])], [])).group.windows).toBe("Always");
    const { lost } = fromFluo([bare(["-reboot-window-start=soon", "-reboot-window-length=1h"])], []);
    expect(lost[0]).toContain("can't be read");
  });
});

describe("brupop", () => {
  test("a controller with a window and a balancer", () => {
    const plan = fromBrupop(read("brupop"));
    const { group, window } = parsed(plan);
    expect(group).toMatchObject({
      maxUnavailable: 3,
      excludeFromLoadBalancers: { wait: "1m30s" },
      drain: { timeout: "24h", onWindowClose: "Finish" },
    });
    expect(window).toMatchObject({ start: "0 22 * * Sat,Sun", duration: "2h", timeZone: "UTC" });
    expect(plan.source).toBe(
      "Deployment brupop-bottlerocket-aws/brupop-controller-deployment and DaemonSet brupop-bottlerocket-aws/brupop-agent",
    );
  });

  const controller = (env: Record<string, string>): Plan =>
    fromBrupop([
      {
        kind: "Deployment",
        metadata: { name: "brupop-controller-deployment" },
        spec: {
          template: {
            spec: {
              containers: [
                {
                  name: "brupop",
                  image: "",
                  command: [],
                  args: [],
                  env: Object.entries(env).map(([name, value]) => ({ name, value })),
                },
              ],
            },
          },
        },
      },
    ]);

  test.each([
    ["* * * * * * *", undefined],
    ["* * 3 * * * *", { start: "0 3 * * *", duration: "1h" }],
    ["0 30 4 * * Mon *", { start: "30 4 * * Mon", duration: "4h" }],
    ["* * * * * Sun *", { start: "0 0 * * Sun", duration: "24h" }],
  ])("the expression %s", (cron, window) => {
    const found = parsed(controller({ MAX_CONCURRENT_UPDATE: "1", SCHEDULER_CRON_EXPRESSION: cron })).window;
    if (window === undefined) expect(found).toBeUndefined();
    else expect(found).toMatchObject(window);
  });

  test.each(["* 1-5 3 * * * *", "* * 22-2 * * * *", "* * * * * * 2030", "* * *"])(
    "the expression %s is named as lost",
    (cron) => {
      const { lost, manifests } = controller({ SCHEDULER_CRON_EXPRESSION: cron });
      expect(manifests).toHaveLength(1);
      expect(lost[0]).toContain("by hand");
    },
  );

  test("the hours of old, the last one included", () => {
    const window = {
      MAX_CONCURRENT_UPDATE: "unlimited",
      UPDATE_WINDOW_START: "22:0:0",
      UPDATE_WINDOW_STOP: "2:0:0",
    };
    expect(parsed(controller(window))).toMatchObject({
      group: { maxUnavailable: "100%" },
      window: { start: "22:00", duration: "5h" },
    });
  });
});

test.each([
  ["1h30m", 5400],
  ["1.5h", 5400],
  ["90", 90],
  ["500ms", 1],
  ["0", 0],
  ["soon", undefined],
])("Go's duration %s is %s seconds", (text, seconds) => {
  expect(goSeconds(text)).toBe(seconds);
});
