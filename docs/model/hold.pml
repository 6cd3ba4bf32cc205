/*
 * How a hold ends: paid, released or expired. For Spin; README.md says what is checked and what is
 * not.
 *
 * One event with one ticket, which a purchase holds at the beginning. The buyer pays up to two times,
 * each payment with a reference of its own: the first is authorised, confirmed here and then captured;
 * the second is captured, and then confirmed here. Meanwhile the buyer may release the purchase, the
 * owner may extend all holds, two others want to buy the ticket, and the clock goes on.
 *
 * How a command is stored, announced and locked is in eventify.pml. So here each command is stored by
 * one step, a batch is one command, and a worker may look for work at any time.
 *
 * What #ifdef asks for are other versions, broken on purpose: check.py lists them.
 */

#define FAULTS 2        /* crashes and lost answers together */

/* Commands: three requests that confirm, of which 0 and 1 are of the first payment; and others. Two
 * expiries may wait at a time, and one is as good as the other. */
#define CONFIRMS 3
#define RELEASE  3
#define EXPIRE   4
#define EXTEND   5
#define BUY      6      /* and 7 */
#define NONE     8
#define payment_of(command) ((command) / 2)

/* --- PostgreSQL -------------------------------------------------------------------------------- */

/* The work list, by class; each in the order of its sequence numbers. */
chan resolutions = [6] of { byte };
chan purchases   = [2] of { byte };
#define is_waiting(command) (resolutions??[eval(command)] || purchases??[eval(command)])

/* The ledger: the purchase as its newest entry left it, and what else the entries say. */
#define HELD      0
#define CONFIRMED 1
#define RELEASED  2
#define EXPIRED   3
#define EXTENDED  4
#define REFUSED   5     /* or rejected */
byte status = HELD;
byte ends;              /* entries that ended the hold */
byte paid_by;           /* the payment that confirmed it, plus one */
byte extended;          /* by how many ticks */
byte bought;            /* tickets that the others have */
#ifdef ANSWER_OF_ITS_OWN
byte entry[CONFIRMS];   /* the kind of the answer; 0: none */
#endif

byte left;              /* counters: issued - held - sold */
#define NOBODY 0
byte locked_by;         /* who holds the lock on the lane's row */

byte clock;
#define is_due(time, extension) (time >= 1 + extension)

/* --- The payment provider, and the shop's answers ---------------------------------------------- */

#define NOTHING    0
#define AUTHORISED 1
#define CAPTURED   2
#define RETURNED    3    /* voided, or refunded */
#define NEVER      4    /* the buyer does not pay */
byte money[2];

#define YES 1           /* 200 */
#define NO  2           /* 409 */
byte told[2];           /* the final answer that reached the shop */

/* --- Bounds, and the promises. A counterexample names the one that was broken. ----------------- */

byte faults;
#define may_fail (faults < FAULTS)
byte first = NONE;       /* the confirmation that was stored before anything else that ends the hold */

hidden byte hold_ends_once, one_payment_confirms, payment_first_is_good, not_due_goes_on,
    charged_has_ticket, returned_has_no_ticket, sold_once, what_comes_back_is_left,
    each_command_has_one_entry, pending_is_stored;
#define promise(name, holds) name = (holds); assert(name)

/* Money was taken for a ticket, or is back, or was never there; no command waits, and the hold is
 * over. */
#ifdef TWO_PAYMENTS
#define PAYMENTS 2
#else
#define PAYMENTS 1
#endif
#define is_settled(payment) (payment >= PAYMENTS || money[payment] == NEVER || money[payment] == RETURNED \
                             || (money[payment] == CAPTURED && told[payment] == YES))
#define all_settled (is_settled(0) && is_settled(1) && status != HELD \
                     && len(resolutions) + len(purchases) == 0)

ltl every_payment_is_settled { [] <> all_settled }

hidden byte chosen;

/* --- The shop ---------------------------------------------------------------------------------- */

/* A shop that crashes knows from its own records how far it came, and goes on there. */
proctype Shop(byte payment) {
    if
    :: money[payment] = (payment == 0 -> AUTHORISED : CAPTURED)
    :: money[payment] = NEVER; goto over
    fi;
    atomic {
        if
        :: told[payment] == YES ->
            money[payment] = CAPTURED;
            promise(charged_has_ticket, paid_by == payment + 1)
        :: told[payment] == NO ->
            money[payment] = RETURNED;
            promise(returned_has_no_ticket, paid_by != payment + 1)
        fi
    }
over:
    skip
}

/* --- The gateway ------------------------------------------------------------------------------- */

#define mine payment_of(me)
#ifdef KEY_APART
bool known[2];
#define is_known known[mine]
#else
#ifdef ANSWER_OF_ITS_OWN
#define is_known resolutions??[eval(me)]
#else
#define is_known waits
#endif
#endif
#define waits (resolutions??[eval(2 * mine)] || (mine == 0 && resolutions??[1]))
#ifdef ANSWER_OF_ITS_OWN
#define found      (entry[me] == CONFIRMED)
#define is_refused (entry[me] == REFUSED)
#else
#define found      (status == CONFIRMED && paid_by == mine + 1)
#define is_refused (status != HELD && paid_by != mine + 1)
#endif

inline store(command) {
#ifndef LIVENESS    /* nothing needs it there */
    first = (command < CONFIRMS && status == HELD && len(resolutions) == 0 -> command : first);
#endif
    resolutions!command
}

/* A step may be lost with its process: the client does not know, and asks again. */
inline answer(how) {
    if
    :: told[mine] = (told[mine] == NOTHING -> how : told[mine])
    :: may_fail -> faults++
    fi
}

/*
 * One of the connections on which a shop confirms a payment, until it has a final answer:
 * gateway/resolutions/service.py. The first payment has two, as a client that waited too long sends
 * its request again while the first still runs.
 */
proctype Confirm(byte me) {
end:
    money[mine] == AUTHORISED || money[mine] == CAPTURED;
look:
    /* What the snapshot of the statement sees: how the hold ended, or a confirmation with the same
     * reference, which is joined. */
    atomic {
        if
        :: told[mine] != NOTHING -> goto over
        :: told[mine] == NOTHING && found -> answer(YES); goto look
        :: told[mine] == NOTHING && is_refused -> answer(NO); goto look
        :: told[mine] == NOTHING && !found && !is_refused && is_known ->
            promise(pending_is_stored, waits); goto look     /* 202 */
        :: told[mine] == NOTHING && !found && !is_refused && !is_known
        fi
    }
#ifdef KEY_APART
    /* The reference by a transaction of its own. */
    atomic {
        known[mine] = true;
        if
        :: true
        :: may_fail -> faults++; goto look
        fi
    }
#endif
    /* Its COMMIT, or a crash before it. A crash after it loses the answer, and none is given yet. */
    atomic {
        if
        :: store(me)
        :: may_fail -> faults++
        fi;
#ifdef ANSWER_OF_THE_EDGE
        answer(YES);
#endif
        goto look
    }
over:
    skip
}

/* The buyer releases and the owner extends: each once, or never. */
proctype Others() {
    bool released, extends;

    do
    :: atomic { !released -> released = true; store(RELEASE) }
    :: atomic { !extends -> extends = true; store(EXTEND) }
    :: break
    od
}

/* --- The worker and the sweeper ---------------------------------------------------------------- */

/* purchase_worker/decision.py, of what was read: `decide`. */
#define is_confirm (command < CONFIRMS)
#define sees_hold  (saw_status == HELD)

#ifdef CONFIRMS_BY_THE_CLOCK
#define confirms (sees_hold && !is_due(now, saw_extended))
#else
#ifdef CONFIRMS_AGAIN
#define confirms (sees_hold || saw_status == CONFIRMED)
#else
#define confirms sees_hold
#endif
#endif

#ifdef RELEASES_AGAIN
#define releases (saw_status != CONFIRMED)
#else
#define releases sees_hold
#endif

#ifdef EXPIRES_UNSEEN
#define expires is_due(now, saw_extended)
#else
#ifdef EXPIRES_AS_QUEUED
#define expires sees_hold
#else
#define expires (sees_hold && is_due(now, saw_extended))
#endif
#endif

inline decide() {
    if
    :: is_confirm && confirms         -> chosen = CONFIRMED
    :: command == RELEASE && releases -> chosen = RELEASED
    :: command == EXPIRE && expires   -> chosen = EXPIRED
    :: command == EXTEND              -> chosen = EXTENDED
    :: command >= BUY && saw_left > 0 -> chosen = CONFIRMED
    :: else                           -> chosen = REFUSED
    fi
}

inline committed() {
    promise(sold_once, (status == HELD || status == CONFIRMED) + bought <= 1);
#ifndef ONLY_OUTCOMES
    promise(what_comes_back_is_left, left + (status == HELD || status == CONFIRMED) + bought == 1)
#endif
}

inline end_hold(how) {
#ifndef ONLY_OUTCOMES
    promise(hold_ends_once, ends == 0);
#endif
    ends++;
    status = how
}

/* The entry and what hangs on it, with the COMMIT: triggers of the ledger (migration 0012). */
inline write() {
    promise(each_command_has_one_entry, is_waiting(command));
    if
    :: command >= BUY -> purchases??eval(command)
    :: else -> resolutions??eval(command)
    fi;
    if
    :: is_confirm ->
        promise(payment_first_is_good, command != first || chosen == CONFIRMED);
        first = (command == first -> NONE : first);
#ifdef ANSWER_OF_ITS_OWN
        entry[command] = chosen
#endif
    :: else
    fi;
    if
    :: is_confirm && chosen == CONFIRMED ->
        promise(one_payment_confirms, paid_by == 0 || paid_by == payment_of(command) + 1);
        promise(returned_has_no_ticket, money[payment_of(command)] != RETURNED);
        paid_by = payment_of(command) + 1;
        end_hold(CONFIRMED)
    :: command >= BUY && chosen == CONFIRMED -> bought++; left--
    :: chosen == RELEASED || chosen == EXPIRED ->
        promise(not_due_goes_on, chosen == RELEASED || is_due(clock, extended));
        end_hold(chosen);
#ifndef COUNTERS_APART
        left++
#endif
    :: chosen == EXTENDED -> extended++
    :: chosen == REFUSED
    fi;
    committed()
}

inline forget() {
    command = 0; now = 0; saw_status = 0; saw_extended = 0; saw_left = 0
}

/*
 * A turn of a worker, or of the sweeper when it decides: purchase_worker/drain.py. Killed with -9 it
 * starts again, and PostgreSQL frees its lock. What a crash after the commit loses is a result, and
 * whoever waits for that reads the ledger.
 */
proctype Worker() {
    byte command, now, saw_status, saw_extended, saw_left;

end:
    /* The lock; then resolutions before purchases, each in order. */
    atomic {
#ifndef NO_LOCK
        locked_by == NOBODY &&
#endif
        len(resolutions) + len(purchases) > 0;
#ifndef NO_LOCK
        locked_by = _pid;
#endif
        if
        :: resolutions?<command>
        :: len(resolutions) == 0 -> purchases?<command>
        fi;
        now = clock; saw_status = status; saw_extended = extended; saw_left = left
    }
    atomic {
        if
        :: decide(); write()
        :: may_fail -> faults++
        fi;
#ifdef COUNTERS_APART
        if
        :: chosen == RELEASED || chosen == EXPIRED -> left++
        :: else
        fi;
#endif
        chosen = 0;
        locked_by = NOBODY;
        forget()
    }
    goto end
}

/*
 * purchase_worker/expiry.py: an expiry for the hold that is due, by the clock, if none waits. It looks
 * and stores by one statement, in between which others commit. Two are stored if another sweeper does
 * the same at that moment, for the first lost its election.
 */
proctype Sweeper() {
end:
    atomic { status == HELD && is_due(clock, extended) && !resolutions??[EXPIRE] };
#ifdef EXPIRES_BY_THE_CLOCK
    atomic { status == HELD -> chosen = EXPIRED; end_hold(EXPIRED); left++; committed(); chosen = 0 }
#else
    atomic {
        if
        :: store(EXPIRE)
        :: may_fail -> faults++; store(EXPIRE); store(EXPIRE)
        :: may_fail -> faults++
        fi
    }
#endif
    goto end
}

proctype Clock() {
    do
    :: clock < 2 -> clock++
    :: else -> break
    od
}

init {
    atomic {
        purchases!BUY; purchases!BUY + 1;
        run Worker();
#ifndef LIVENESS
        run Worker();
#endif
#ifndef NO_SWEEPER
        run Sweeper();
#endif
#ifdef TWO_PAYMENTS
        run Confirm(2); run Shop(1);
#else
        run Others();
#endif
#ifndef LIVENESS
        run Confirm(1);
#endif
        run Clock(); run Confirm(0); run Shop(0)
    }
}
