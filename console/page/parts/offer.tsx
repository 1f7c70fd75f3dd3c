/** A write that a person is offered: a button, which is there only for whom RBAC lets do it, and asks first. */
import type { Action } from "../../contract.ts";
import { useApp } from "../app-context.ts";
import type { Question } from "./question.tsx";

export interface Offer extends Omit<Question, "confirm"> {
  /** The right that it needs. */
  may: Action;
  /** What the button says. */
  label: string;
  /** What it is about, for who can't see where the button stands. */
  of: string;
  /** The words on the button that does it, where they are not the label. */
  confirm?: string;
  /** Whether the button looks as others do, although what it asks is dangerous. */
  calm?: boolean;
}

/** Side by side; what is false is not offered now. */
export function Offers({ list }: { list: readonly (Offer | false)[] }) {
  const offers = usePermitted(list);
  return offers.length === 0 ? null : (
    <div class="actions">
      {offers.map((offer) => (
        <OfferButton key={offer.label} offer={offer} />
      ))}
    </div>
  );
}

/** One by itself. */
export function Offered({ offer }: { offer: Offer }) {
  return usePermitted([offer]).length === 0 ? null : <OfferButton offer={offer} />;
}

function usePermitted(list: readonly (Offer | false)[]): Offer[] {
  const { may } = useApp().me;
  return list.filter((offer): offer is Offer => offer !== false && may[offer.may] === true);
}

function OfferButton({ offer }: { offer: Offer }) {
  const app = useApp();
  const { label, of, danger, calm, confirm = label } = offer;
  return (
    <button
      type="button"
      class={danger && !calm ? "danger-quiet" : ""}
      aria-haspopup="dialog"
      onClick={() => {
        app.question.value = { ...offer, confirm };
      }}
    >
      {label} …<span class="unseen"> {of}</span>
    </button>
  );
}
