/** Times, which go on by themselves. */
import { useApp } from "../app-context.ts";
import { moment, relative } from "../format.ts";

export function Ago({ time }: { time: string | undefined }) {
  const { now } = useApp();
  if (time === undefined) return null;
  const at = Date.parse(time);
  return (
    <time dateTime={time} title={time}>
      {relative(at, now.value)}
    </time>
  );
}

export function At({ time }: { time: string }) {
  const { now } = useApp();
  return (
    <time dateTime={time} title={time}>
      {moment(Date.parse(time), now.value)}
    </time>
  );
}
