/** Whether what waits in the passive slot may still boot: asked with each look, for what permitted its staging may have ended. */
import { consentsOf, type Driver, type Machine } from "./driver.ts";
import { type Link, type Objection, passiveLabel } from "./situation.ts";

/** `floor`: highest version that was marked good here. Nothing is asked before a gateway told what people allow. */
export async function askObjection(
  driver: Driver,
  machine: Machine,
  { desired, grant }: Link,
  floor: string,
): Promise<Objection | undefined> {
  const rootHash = passiveLabel(machine)?.rootHash;
  if (rootHash === undefined || desired === undefined) return undefined;
  const target = [grant?.target, desired.target].find((each) => each?.rootHash === rootHash);
  const cause = target && (await driver.objection(target, consentsOf(desired, floor)));
  return cause && { rootHash, why: cause };
}
