/** Tokens of a real API server, judged by its TokenReview. */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { tool } from "../../hack/tools.ts";
import { systemClock } from "../../ports/clock.ts";
import { silentLogger } from "../../ports/log.ts";
import { systemRandom } from "../../ports/random.ts";
import type { TokenReviewResult } from "../../runtime/client.ts";
import { loadKubeConfig } from "../../runtime/kubeconfig.ts";
import { createRestClient, type RestClient } from "../../runtime/rest-client.ts";
import { Authenticator, Refused } from "./authenticate.ts";

const id = randomUUID().slice(0, 8);
const namespace = `agents-${id}`;
const node = `node-${id}`;
let client: RestClient;
let nodeUid: string;

async function kubectl(args: readonly string[], input?: unknown): Promise<string> {
  const running = promisify(execFile)(await tool("kubectl"), ["--kubeconfig", inject("kubeconfig"), ...args]);
  running.child.stdin?.end(input === undefined ? "" : JSON.stringify(input));
  return (await running).stdout.trim();
}

function pod(name: string, nodeName?: string): unknown {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace },
    spec: {
      serviceAccountName: "agent",
      containers: [{ name: "agent", image: "none" }],
      // The control plane has no scheduler's leave for a Pod that is placed already.
      ...(nodeName === undefined ? { schedulerName: "nobody" } : { nodeName }),
    },
  };
}

async function token(account: string, audience: string, boundTo?: string): Promise<string> {
  const bound = boundTo === undefined ? [] : ["--bound-object-kind", "Pod", "--bound-object-name", boundTo];
  return kubectl(["-n", namespace, "create", "token", account, "--audience", audience, ...bound]);
}

beforeAll(async () => {
  client = createRestClient(loadKubeConfig(inject("kubeconfig")), {
    clock: systemClock,
    random: systemRandom,
  });
  const account = (name: string) => ({
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name, namespace },
  });
  await kubectl(["create", "namespace", namespace]);
  for (const object of [
    { apiVersion: "v1", kind: "Node", metadata: { name: node } },
    account("agent"),
    account("other"),
    pod("placed", node),
    pod("doomed", node),
    pod("unplaced"),
  ]) {
    await kubectl(["create", "-f", "-"], object);
  }
  nodeUid = await kubectl(["get", "node", node, "-o", "jsonpath={.metadata.uid}"]);
});

afterAll(async () => {
  await kubectl(["delete", "namespace", namespace, "--wait=false"]);
  await kubectl(["delete", "node", node]);
  await client.close();
});

function authenticator(ask: (token: string, audience: string) => Promise<TokenReviewResult>): Authenticator {
  return new Authenticator({
    client: { tokenReview: ask },
    audience: "slipway",
    serviceAccounts: [`${namespace}:agent`],
    authority: () => {
      throw new Error("no certificates here");
    },
    clock: systemClock,
    log: silentLogger,
    reviewed() {},
  });
}

const real = () => authenticator((text, audience) => client.tokenReview(text, audience));

test("a token that is bound to a Pod names the node that it runs on", async () => {
  const text = await token("agent", "slipway", "placed");
  expect(await real().byToken(text)).toEqual({ uid: nodeUid, node });
});

test.each([
  [
    "another audience",
    (): Promise<string> => token("agent", "else", "placed"),
    /not valid for audience "slipway"/,
  ],
  [
    "no audience of ours",
    (): Promise<string> => token("agent", "https://kubernetes.default.svc", "placed"),
    /not valid/,
  ],
  [
    "another service account",
    (): Promise<string> => token("other", "slipway"),
    /no service account of agents/,
  ],
  ["bound to no Pod", (): Promise<string> => token("agent", "slipway"), /bound to no Pod on a node/],
  [
    "bound to a Pod on no node",
    (): Promise<string> => token("agent", "slipway", "unplaced"),
    /bound to no Pod on a node/,
  ],
  ["garbage", async (): Promise<string> => "garbage", /not valid/],
  ["nothing", async (): Promise<string> => "", /no usable bearer token/],
  ["much too long", async (): Promise<string> => "x".repeat(20_000), /no usable bearer token/],
  [
    "a changed signature",
    async (): Promise<string> => {
      const text = await token("agent", "slipway", "placed");
      return text.slice(0, -4) + (text.endsWith("AAAA") ? "BBBB" : "AAAA");
    },
    /not valid/,
  ],
  [
    "of a Pod that is gone",
    async (): Promise<string> => {
      const text = await token("agent", "slipway", "doomed");
      await kubectl(["-n", namespace, "delete", "pod", "doomed", "--grace-period=0", "--force"]);
      // The API server's own caches take a moment.
      await expect
        .poll(async () => (await client.tokenReview(text, "slipway")).authenticated, { timeout: 30_000 })
        .toBe(false);
      return text;
    },
    /not valid/,
  ],
] as const)("%s is refused", async (_, make, why) => {
  const answer = real().byToken(await make());
  await expect(answer).rejects.toThrow(why);
  await expect(answer).rejects.toBeInstanceOf(Refused);
});

test("many connections of one agent ask the API server once", async () => {
  let asked = 0;
  const counting = authenticator((text, audience) => {
    asked += 1;
    return client.tokenReview(text, audience);
  });
  const text = await token("agent", "slipway", "placed");
  const identities = await Promise.all(Array.from({ length: 50 }, () => counting.byToken(text)));
  expect(new Set(identities.map(({ uid }) => uid))).toEqual(new Set([nodeUid]));
  expect(asked).toBe(1);
});
