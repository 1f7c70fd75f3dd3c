/** Who is down by right: each budget with its holders and those who wait. */
import type { Budget } from "../../contract.ts";
import { useApp } from "../app-context.ts";
import { byName, count } from "../format.ts";
import { Badge } from "../parts/badge.tsx";
import { MachineLink } from "../parts/links.tsx";
import { CommandButton, Num } from "../parts/number.tsx";
import { Ago } from "../parts/time.tsx";

export function SlotsView() {
  const budgets = useApp().model.budgets.value;
  if (budgets === undefined) return <p class="empty">Reading the budgets …</p>;
  if (budgets.size === 0) return <p class="empty">No budget yet: each UpdateGroup brings one.</p>;
  return (
    <div class="budgets">
      {[...budgets.values()].sort(byHolders).map((budget) => (
        <BudgetCard key={budget.name} budget={budget} level={2} />
      ))}
    </div>
  );
}

function byHolders(a: Budget, b: Budget): number {
  const busy = ({ holders, waiting }: Budget): number => (holders.length > 0 || waiting > 0 ? 0 : 1);
  return busy(a) - busy(b) || byName(a.name, b.name);
}

export function BudgetCard({ budget, level }: { budget: Budget; level: 2 | 3 }) {
  const { name, limit, unavailable, holders, queue, waiting, kubectl } = budget;
  const Heading = `h${level}` as const;
  const full = limit !== undefined && unavailable !== undefined && unavailable >= limit;
  return (
    <section class="budget" aria-label={`Budget ${name}`}>
      <header>
        <Heading>{name}</Heading>
        {full ? <Badge sign="■" label="Full" tone="wait" /> : <Badge sign="□" label="Room" tone="good" />}
      </header>
      <p>
        <Num value={unavailable ?? 0} of={`down in ${name}`} command={kubectl} /> down
        {limit !== undefined && (
          <>
            , at most <Num value={limit} of={`may be down in ${name}`} command={kubectl} />
          </>
        )}
        ; <Num value={waiting} of={`wait for ${name}`} command={kubectl} /> {waiting === 1 ? "waits" : "wait"}{" "}
        <CommandButton command={kubectl} of={name} />
      </p>
      {holders.length === 0 && queue.length === 0 && <p class="empty">Nobody holds a slot, nobody waits.</p>}
      {holders.length > 0 && (
        <>
          <p class="label">Holders</p>
          <ul class="plain">
            {holders.map(({ machine, uid, phase, since, suspect }) => (
              <li key={uid ?? machine}>
                <MachineLink uid={uid} name={machine} /> {phase}, <Ago time={since} />{" "}
                {suspect && <Badge sign="?" label="Suspect" tone="bad" />}
              </li>
            ))}
          </ul>
        </>
      )}
      {queue.length > 0 && (
        <>
          <p class="label">Queue</p>
          <ol>
            {queue.map(({ machine, uid, since, protocol }) => (
              <li key={uid ?? machine}>
                <MachineLink uid={uid} name={machine} /> {protocol} <Ago time={since} />
              </li>
            ))}
          </ol>
        </>
      )}
      {waiting > queue.length && <p class="note">and {count(waiting - queue.length)} more</p>}
    </section>
  );
}
