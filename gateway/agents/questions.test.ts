import { beforeEach, expect, test } from "vitest";
import { settle } from "../fake-clock.ts";
import { fakeGrant } from "../fake-coordination.ts";
import { boot, opened, request, TOKEN, UID, World } from "./fake-world.ts";

let world: World;
beforeEach(() => {
  world = new World();
});

test("a commit is answered with its token and its seconds", async () => {
  world.coordination.grants.set(UID, fakeGrant(UID, 7, "Drained"));
  const peer = await opened(world);
  await peer.say(request({ case: "commit", value: { token: TOKEN, boot } }));
  expect(peer.last("commit")).toMatchObject({ token: TOKEN, goodForSeconds: 20, reason: "Committed" });
});

test("a refusal has no seconds, and says why", async () => {
  const peer = await opened(world);
  await peer.say(request({ case: "commit", value: { token: TOKEN, boot } }));
  expect(peer.last("commit")).toMatchObject({
    token: TOKEN,
    goodForSeconds: 0,
    reason: "CommitRefused",
    message: "the grant is gone",
  });
});

test.each([
  ["commit", "commit", { token: TOKEN, boot }],
  ["withdraw", "withdraw", { token: TOKEN }],
  ["return", "reportReturn", { token: TOKEN, boot, verdict: "Updated" }],
] as const)("no answer of etcd, no answer to a %s; asked again it gets one", async (kind, call, value) => {
  world.coordination.grants.set(UID, fakeGrant(UID, 7, kind === "commit" ? "Drained" : "Committed"));
  const peer = await opened(world);
  world.coordination.failing.add(call);
  await peer.say(request({ case: kind, value }));
  expect(peer.count(kind)).toBe(0);
  expect(peer.ended).toBeUndefined();
  world.coordination.failing.clear();
  await peer.say(request({ case: kind, value }));
  expect(peer.last(kind).token).toMatchObject(TOKEN);
});

test("a withdrawal whose grant is gone is confirmed", async () => {
  const peer = await opened(world);
  await peer.say(request({ case: "withdraw", value: { token: TOKEN } }));
  expect(peer.last("withdraw").token).toMatchObject(TOKEN);
});

test.each([
  ["withdraw", { token: TOKEN }],
  ["return", { token: TOKEN, boot, verdict: "FellBack" }],
] as const)(
  "a %s whose grant etcd has lost is not confirmed: it wants the verdict once it is rebuilt",
  async (kind, value) => {
    const peer = await opened(world);
    for (const incarnation of [undefined, "rebuilding:two"]) {
      world.coordination.incarnation = incarnation;
      await peer.say(request({ case: kind, value }));
      expect(peer.count(kind)).toBe(0);
    }
  },
);

test("a return that etcd does not take while the grant lives gets no answer", async () => {
  world.coordination.grants.set(UID, fakeGrant(UID, 7, "Drained"));
  const peer = await opened(world);
  await peer.say(request({ case: "return", value: { token: TOKEN, boot, verdict: "Updated" } }));
  expect(world.coordination.count("reportReturn")).toBe(1);
  expect(peer.count("return")).toBe(0);
});

test("a stale answer is not given where etcd can't say whether it is final", async () => {
  const peer = await opened(world);
  world.coordination.failing.add("readNode");
  await peer.say(request({ case: "withdraw", value: { token: TOKEN } }));
  expect(peer.count("withdraw")).toBe(0);
});

test("are asked one at a time; of one kind only the newest waits", async () => {
  world.coordination.grants.set(UID, fakeGrant(UID, 7, "Drained"));
  const peer = await opened(world);
  world.coordination.hold("commit");
  for (let i = 0; i < 10; i++) await peer.say(request({ case: "commit", value: { token: TOKEN, boot } }));
  await peer.say(request({ case: "withdraw", value: { token: TOKEN } }));
  expect(world.coordination.count("commit")).toBe(1);
  expect(world.coordination.count("withdraw")).toBe(0);
  world.coordination.letGo("commit");
  await settle();
  expect(world.coordination.count("commit")).toBe(2);
  expect(peer.kinds.slice(-3)).toEqual(["commit", "commit", "withdraw"]);
});
