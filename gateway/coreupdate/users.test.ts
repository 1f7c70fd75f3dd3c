/** The file of users: what is taken, what is not, and that it is read again. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { jsonLogger } from "../../ports/log.ts";
import { SimClock } from "../../test/sim/clock.ts";
import { followFile } from "../followed-files.ts";
import { parseUsers } from "./users.ts";

const TOKEN = "d3b07384d113edec49eaa6238ad5ff00";
const user = (more = ""): string => `users:\n  - {name: alice, token: ${TOKEN}, as: a@example.org${more}}\n`;

describe("the file", () => {
  it("gives each user a key and a person", () => {
    expect(parseUsers(user(", groups: [platform]")).get("alice")).toEqual({
      ...{ id: "alice", key: TOKEN, hashRequired: false },
      person: { username: "a@example.org", groups: ["platform", "system:authenticated"] },
    });
    expect(parseUsers(user(", requireBodyHash: true")).get("alice")?.hashRequired).toBe(true);
    expect(parseUsers("users: []").size).toBe(0);
  });

  it.each([
    ["no YAML", "users: [", "it is no YAML"],
    ["something else", "[]", ": "],
    ["a short token", `users:\n  - {name: a, token: short, as: a}`, "users.0.token"],
    ["a field that is none", user(", admin: true"), "users.0"],
    ["a name that no header can carry", user().replace("alice", `'a"b'`), "users.0.name"],
    ["a user of Kubernetes' own", user().replace("a@example.org", "system:admin"), "users.0.as"],
    ["the group of all rights", user(", groups: ['system:masters']"), "users.0.groups"],
    ["two users of one name", `${user()}${user().split("\n")[1]}\n`, "two users have the same name"],
    ["references that grow", `users: &a [*a]`, "it is no YAML"],
  ])("with %s is refused, and the token not told", (_, text, message) => {
    let said = "";
    try {
      parseUsers(text);
    } catch (error) {
      said = (error as Error).message;
    }
    expect(said).toContain(message);
    expect(said).not.toContain(TOKEN);
  });
});

describe("a change of the file", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "slipway-users-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("is taken, unless it can't be used", async () => {
    const path = join(directory, "users.yaml");
    const logged: string[] = [];
    const clock = new SimClock().process();
    const log = jsonLogger(clock, (line) => logged.push(line));
    const open = () => followFile({ path, what: "users", parse: parseUsers, clock, log });
    await writeFile(path, user());
    const file = await open();
    await writeFile(path, user().replace("alice", "bob"));
    await file.refresh();
    expect([...file.current.keys()]).toEqual(["bob"]);
    await writeFile(path, "users: 1");
    await file.refresh();
    await rm(path);
    await file.refresh();
    expect([...file.current.keys()]).toEqual(["bob"]);
    expect(logged.join("")).toContain("the former stay");
    expect(logged.join("")).not.toContain(TOKEN);
    file.stop();
    await expect(open()).rejects.toThrow("ENOENT");
    await writeFile(path, "users: 1");
    await expect(open()).rejects.toThrow(path);
  });
});
