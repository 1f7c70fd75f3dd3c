import { expect, it } from "vitest";
import { aliasesOf, namesOf, uidOf, whoIs, zincatiId } from "./identity.ts";

// systemd-id128 machine-id -a de35106b6ec24688b63afddaa156679b of systemd 252, with each in /etc/machine-id.
it.each([
  ["0123456789abcdef0123456789abcdef", "583627a932274834a8ebd99f4ed41c0d"],
  ["ffffffffffffffffffffffffffffffff", "01e17ff8056e4c079b0bac70864eb9b5"],
  ["dabab1d31ecf4a2a8bcb4d1e1a1a0f01", "ad43b98180c94abb8f6ecb0cc496bf3b"],
])("makes of the machine id %s what Zincati does", (machineId, id) => {
  expect(zincatiId(machineId)).toBe(id);
  expect(aliasesOf(machineId)).toEqual([id]);
  expect(namesOf(machineId)).toEqual([machineId, id]);
});

it.each(["worker-1", "", "0123456789ABCDEF0123456789ABCDEF", "8f8b0c2e-6a3b-4b43-9e3c-0d9a3f6f1a11"])(
  "keeps %j, which is no machine id, apart",
  (id) => {
    expect(uidOf(id)).toBe(`foreign/${id}`);
    expect(aliasesOf(uidOf(id))).toEqual([]);
    expect(namesOf(id)).toEqual([]);
  },
);

it("takes the manager's word before what was seen, and what was seen before the id itself", () => {
  const id = "583627a932274834a8ebd99f4ed41c0d";
  const told = { uid: "node-uid", name: "worker-1" };
  const seen = "0123456789abcdef0123456789abcdef";
  expect(whoIs(id, { told, seen })).toBe(told);
  expect(whoIs(id, { told: undefined, seen })).toEqual({ uid: seen, name: seen });
  expect(whoIs(id, { told: undefined, seen: undefined })).toEqual({ uid: id, name: id });
});
