/** Names that lead to where the thing is shown. */
import { href } from "../route.ts";

export function MachineLink({ uid, name }: { uid: string | undefined; name: string }) {
  return uid === undefined || uid === "" ? <span>{name}</span> : <a href={href.machine(uid)}>{name}</a>;
}

export function GroupLinks({ names }: { names: readonly string[] }) {
  if (names.length === 0) return <span class="note">none</span>;
  return (
    <>
      {names.map((name, index) => (
        <span key={name}>
          {index > 0 && ", "}
          <a href={href.group(name)}>{name}</a>
        </span>
      ))}
    </>
  );
}
