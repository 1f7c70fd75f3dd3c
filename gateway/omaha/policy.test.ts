/** Who is left out by OEM or board, which versions are older, and what a request says that came twice. What else a check decides is tested by the answers (`route.test.ts`). */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ReleaseVersion } from "../../api/release.ts";
import { compareVersions } from "../../api/version.ts";
import type { Offer } from "../../coordination/records.ts";
import { offered } from "../../test/omaha/offered.ts";
import { CHECK, event, requestOf, type Sent } from "../../test/omaha/requests.ts";
import { decideCheck, decideFollower, endingOf } from "./policy.ts";
import { type OmahaApp, parseRequest } from "./request.ts";

const offer: Offer = {
  ...{ group: "workers", tracks: ["workers"], product: "os", share: 1, threshold: 1, validUntil: 1 },
  ways: { amd64: [offered("1.0.5"), offered("1.1.0")] },
};

/** As a machine sends it. */
function parsed(sent: Sent): OmahaApp {
  const [app] = parseRequest(Buffer.from(requestOf(sent))).apps;
  if (app === undefined) throw new Error("a request has an app");
  return app;
}

const appOf = (oem: string, version = "1.0.0"): OmahaApp => parsed({ oem, version });

const check = (app: OmahaApp, of: Offer, onDemand = false) =>
  decideCheck(app, "uid", { failed: [] }, of, onDemand, undefined);

describe("a machine whose OEM the group excludes", () => {
  const excluding = { ...offer, excludedOEMs: ["ami", "openstack"] };

  it("is offered nothing, also on demand and as a downgrade, and is told that it is up to date where it is", () => {
    const why = {
      reason: "OEMExcluded",
      message: "Its OEM is ami, which spec.machines.excludedOEMs of UpdateGroup workers names.",
    };
    expect(check(appOf("ami"), excluding)).toEqual(why);
    expect(check(appOf("ami"), excluding, true)).toEqual(why);
    expect(check(appOf("ami", "2.0.0"), { ...excluding, downgrade: true })).toEqual(why);
    expect(check(appOf("ami", "1.1.0"), excluding)).toMatchObject({ reason: "UpToDate" });
  });

  it("is known by the name in quotes too, as clients of before 2023-10 send it", () => {
    expect(check(appOf('"openstack"'), excluding)).toMatchObject({ reason: "OEMExcluded" });
  });

  it("is that one alone: all others are offered what they are offered without a list", () => {
    const oem = fc.oneof(
      fc.constantFrom("ami", "AMI", "ami-2", "", "qemu"),
      fc.stringMatching(/^[a-z0-9._-]{0,9}$/),
    );
    fc.assert(
      fc.property(oem, fc.array(oem, { maxLength: 5 }), fc.boolean(), (own, excludedOEMs, onDemand) => {
        const app = appOf(own);
        const decided = check(app, { ...offer, excludedOEMs }, onDemand);
        if (excludedOEMs.includes(own)) expect(decided).toMatchObject({ reason: "OEMExcluded" });
        else expect(decided).toEqual(check(app, offer, onDemand));
      }),
    );
  });

  it("binds no server that follows, which has OEMs of its own", () => {
    expect(decideFollower(appOf("ami"), excluding, undefined)).toMatchObject({
      ...{ offered: { version: "1.0.5" }, last: false },
    });
  });
});

describe("a version", () => {
  const to = (version: string): Offer => ({ ...offer, ways: { amd64: [offered(version)] } });
  const isOffered = (running: string, target: string): boolean =>
    "offered" in check({ ...appOf("qemu"), version: running }, to(target));

  it.each([
    ["1.2.0-rc.1", "1.2.0", true],
    ["1.2.0-rc.1", "1.2.0-rc.2", true],
    ["1.2.0-rc.9", "1.2.0-rc.10", true],
    ["1.2.0-rc.2", "1.2.0-rc.1", false],
    ["1.2.0", "1.2.0-rc.1", false],
    ["1.2.0-rc.1", "1.2.0-rc.1", false],
    ["1.2.0-rc.1+build.7", "1.2.0", true],
    ["1.2.0-rc.1+build.7", "1.2.0-rc.1", false],
    ["1.2.0+nightly-20261127-2100", "1.2.0", false],
    ["1.2.0 dirty", "1.2.0", false],
    ["1.2.3.4.5", "1.2.3.4", false],
    ["v1.2", "1.0.0", true],
    ["", "1.0.0", true],
  ])("%j is offered %s: %s", (running, target, expected) => {
    expect(isOffered(running, target)).toBe(expected);
  });

  it("of a candidate does not do where a release updates from the one that it leads to", () => {
    const steep = { ...offer, ways: { amd64: [offered("1.3.0", { updatesFrom: "1.2.0" })] } };
    expect(check(appOf("qemu", "1.2.0-rc.1"), steep)).toMatchObject({ reason: "UpdateNotReachable" });
    expect(check(appOf("qemu", "1.2.0"), steep)).toMatchObject({ offered: { version: "1.3.0" } });
  });

  it("as a Release has it is older for a machine where it is older for us", () => {
    const versions = fc.stringMatching(/^[0-3](\.[0-3]){0,3}([-+](rc|a)\.?[0-3]{1,2})?$/);
    fc.assert(
      fc.property(versions, versions, (running, target) => {
        expect(ReleaseVersion.safeParse(running).success).toBe(true);
        expect(isOffered(running, target)).toBe(compareVersions(running, target) < 0);
      }),
    );
  });

  it("of any sort is answered with an offer, or with nothing", () => {
    const odd = fc.constantFrom("1", "1.2.3.4.5", "v1.2", "-", "1-", "1.", ".1", "1.0.5-", "9".repeat(1000));
    const versions = fc.oneof(
      ...[odd, fc.string(), fc.string({ unit: "binary", minLength: 1000, maxLength: 1000 })],
      fc.stringMatching(/^\d{1,3}[\w.+-]{0,20}$/),
    );
    fc.assert(
      fc.property(versions, fc.boolean(), (version, downgrade) => {
        const decided = check({ ...appOf("qemu"), version }, { ...offer, downgrade });
        if ("reason" in decided) expect(decided.reason).toBe("UpToDate");
        else expect(["1.0.5", "1.1.0"]).toContain(decided.offered.version);
      }),
    );
  });
});

describe("the architecture", () => {
  const both = { ...offer, ways: { amd64: [offered("1.1.0")], arm64: [offered("1.2.0")] } };

  it.each([
    ["", "1.1.0"],
    ["amd64-usr", "1.1.0"],
    ["x86_64-rack", "1.1.0"],
    ["arm64-usr", "1.2.0"],
    ["aarch64", "1.2.0"],
  ])("of the board %j is the one that gets %s", (board, version) => {
    expect(check(parsed({ board, version: "1.0.0" }), both)).toMatchObject({ offered: { version } });
    expect(decideFollower(parsed({ board, version: "1.0.0" }), both, undefined)).toMatchObject({
      ...{ offered: { version }, last: true },
    });
  });

  it.each(["ppc64le-usr", "s390x-usr", "amd640", "arm", "-usr", "AMD64-usr", "constructor", "__proto__"])(
    "of the board %j is none: it is offered nothing, and told why",
    (board) => {
      const why = {
        reason: "NoPayload",
        message: `Its board is "${board}"; there are payloads for amd64 and arm64 alone.`,
      };
      expect(check(parsed({ board, version: "1.0.0" }), both)).toEqual(why);
      expect(decideFollower(parsed({ board, version: "1.0.0" }), both, undefined)).toEqual(why);
    },
  );
});

describe("the first check of a boot, repeated because its answer was lost after the next offer was written", () => {
  const completed = event(3, 2, ` previousversion="1.0.0"`);
  const rolledBack = event(3, 0, ` errorcode="44"`);
  const offer = { group: "workers", release: "os-1.1.0", version: "1.1.0", attempt: 1, at: 0 };
  const ending = (bootid: string, said: string, version = "1.0.5", bootId = "b") =>
    endingOf(
      parsed({ version, bootid, inside: CHECK + said }),
      { update: { ...offer, state: "Granted", bootId } },
      0,
    );

  it.each([completed, rolledBack])("does not fail what was offered in this boot: %s", (said) => {
    expect(ending("{b}", said)).toBeUndefined();
    expect(ending("{b}", said, "1.1.0")).toEqual({ how: "good", code: 0 });
    expect(ending("{b}", said + event(3, 0, ` errorcode="9"`))).toEqual({ how: "withdrawn", code: 9 });
  });

  it.each([completed, rolledBack])(
    "fails what was offered in the boot before, or in none that is known: %s",
    (said) => {
      expect(ending("{c}", said)).toEqual({ how: "failed", code: 44 });
      expect(ending("", said, "1.0.5", "")).toEqual({ how: "failed", code: 44 });
    },
  );
});
