/*
 * How a purchase is accepted and decided, for Spin. README.md says what is checked and what is not.
 *
 * One ticket type with CAPACITY tickets and three tries to buy: three requests, or (REPEATED) two,
 * of which the first is sent twice under the same Idempotency-Key. Each step below is one step of
 * the code: a statement, a commit, commands to Redis. Between any two of them every other process
 * may go as far as it likes; so a process that is slow, or is stopped and goes on, is covered.
 *
 * What #ifdef asks for are other versions, most of them broken on purpose: check.py lists them.
 */

#define TRIES    3
#define CAPACITY 2
#define BATCH    2      /* rows of a batch: some queues take one batch, some take two */

/* Messages that the broker holds, and crashes of gateways, workers and sweeper together. */
#ifdef WAKEUPS_ALONE
#define WAKEUPS    3
#define CRASHES  0
#else
#define WAKEUPS    1      /* it may be delivered again and again, so it stands for any number */
#define CRASHES  2
#endif

/* Whether a worker that has emptied the queue clears the mark of wake-ups. */
#ifdef CLEARED_ONCE
#define may_clear (!sweeps && cleared == 0)
#else
#define may_clear (!sweeps && cleared != 1)
#endif

#define quantity_of(try)  (1 + (try == 1))      /* 1, 2 and 1 tickets: not all of them fit */
#ifdef REPEATED
#define key_of(try)       (try % 2)
#define has_twin(try)     (try != 1)
#define twin_of(try)      (try == 1 -> 1 : 2 - try)    /* the other try with the same key */
#else
#define key_of(try)       (try)
#define has_twin(try)     false
#define twin_of(try)      try
#endif
#define bit(n)            (1 << (n))

/* --- PostgreSQL -------------------------------------------------------------------------------- */

/* A row's `status`; OPEN: inserted by a transaction that has not ended. */
#define NONE      0
#define OPEN      1
#define QUEUED    2
#define CONFIRMED 3
#define REJECTED  4
#define is_committed(row) (status[row] >= QUEUED)
#define is_decided(row)   (status[row] >= CONFIRMED)
#define some_queued       (status[0] == QUEUED || status[1] == QUEUED || status[2] == QUEUED)

byte status[TRIES];     /* ticket_purchases: the row of each try */
byte seq[TRIES];        /* drawn when a row is inserted; commits come in any order. Only the order of
                         * rows that are not decided matters, so their numbers are kept at 1, 2, ... */
byte last_seq;
byte sold, decisions;   /* ticket_inventory */
#define NOBODY 0
byte locked_by;         /* who holds the lock on that row */

/* --- Redis ------------------------------------------------------------------------------------- */

/*
 * Wake-ups are lost, late and doubled. The key in Redis that marks one as under way only keeps more from
 * being sent, so with such wake-ups it changes nothing. It is there where wake-ups are reliable
 * (WAKEUPS_ALONE), to see whether they are enough without the sweeper.
 */
byte wakeups;             /* Celery's messages: all of them say "decide this ticket type" */
bool mark;

/* --- Bounds, and what is remembered to hold the promises against. No step asks for the latter. -- */

byte crashes;
bool swept;
byte acknowledged;      /* tries that were told of a purchase: one bit for each key */
byte told;              /* the purchase that answers to the repeated key named, plus one */
byte comes_after[TRIES];/* keys acknowledged before this try was sent, and not decided yet */
byte shown[TRIES];      /* the outcome that a client may have read, from Redis or PostgreSQL */

/* The promises. A counterexample names the one that was broken. */
hidden byte never_oversold, sold_is_what_was_confirmed, acknowledged_is_stored, decided_once,
    outcome_never_changes, result_never_ahead_of_database, first_come_first_served,
    same_key_same_purchase, no_guard_was_asked, nothing_left_behind;
#define promise(name, holds) name = (holds); assert(name)

/*
 * Whatever was stored is decided in the end, also where its answer was lost. What was acknowledged
 * was stored: that is a promise of its own. All tries come to an end, so "again and again, all that
 * is stored is decided" says "each, in the end".
 */
#define is_settled(row)     (status[row] <= OPEN || is_decided(row))
#define all_decided         (is_settled(0) && is_settled(1) && is_settled(2))

ltl every_purchase_is_decided { [] <> all_decided }

/* Used within one step and nothing in between, so they are no part of a state. */
hidden byte n, row, other, rows, outcome, found, confirmed_now, refused;

/* --- The gateway ------------------------------------------------------------------------------- */

/* An answer that names a purchase: 202 Accepted, or the answer to a repeated key. Nothing of it is
 * needed to see whether all is decided in the end (LIVENESS), so there it is left out. */
inline answer(row_named) {
#ifndef ACK_BEFORE_COMMIT
    promise(acknowledged_is_stored, is_committed(row_named));
#endif
#ifndef LIVENESS
    if
    :: has_twin(me) ->
        promise(same_key_same_purchase, told == 0 || told == row_named + 1);
        told = row_named + 1
    :: else
    fi;
    acknowledged = acknowledged | bit(key_of(me))
#endif
}

/* `try` need not come after this key, or no longer. */
inline set_aside(try, key) {
    comes_after[try] = comes_after[try] & (bit(TRIES) - 1 - bit(key))
}

/* The number goes with the row. */
inline close_up(gone) {
    for (other : 0 .. TRIES - 1) {
        seq[other] = seq[other] - (seq[other] > seq[gone])
    }
    seq[gone] = 0;
    last_seq--
}

inline must_wait() {
    comes_after[me] = acknowledged;
    for (other : 0 .. TRIES - 1) {
        if
        :: other == key_of(me) || is_decided(other) || is_decided(twin_of(other)) ->
            set_aside(me, key_of(other))
        :: else
        fi
    }
}

inline insert() {
    last_seq++;
    seq[me] = last_seq;
    status[me] = OPEN;
#ifdef ACK_BEFORE_COMMIT
    answer(me)
#endif
}

/* So many messages are as good as one more. */
inline send_wakeup() {
    wakeups = wakeups + (wakeups < WAKEUPS)
}

/*
 * A try of a request: gateway/purchases/service.py, `buy` and `_accept`. The requests of a batch
 * share a statement and its commit; here each is alone, which lets more happen in between.
 */
proctype Try(byte me) {
look:
    /* gateway/purchases/store.py, ACCEPT: what its snapshot sees. An earlier purchase with the same
     * key outranks a refusal, and nothing is stored of what is sold out. Whatever was acknowledged
     * by now has to be decided first, though this was sent a moment ago already. */
    atomic {
        if
        :: has_twin(me) && is_committed(twin_of(me)) -> answer(twin_of(me)); goto gone
        :: else
        fi;
        if
        :: sold >= CAPACITY -> goto gone
        :: else -> must_wait()
        fi;
        if
        :: has_twin(me)
        :: else -> insert(); goto inserted      /* nothing between the two could matter to it */
        fi
    }

    /* The same statement: INSERT ... ON CONFLICT DO NOTHING. The unique index waits for an open
     * transaction with the same key; if that one commits nothing is inserted, and `accept` runs
     * the statement again, with a new snapshot. */
    atomic {
#ifndef NO_UNIQUE_KEY
        status[twin_of(me)] != OPEN;
        if
        :: is_committed(twin_of(me)) -> comes_after[me] = 0; goto look
        :: else
        fi;
#endif
        insert()
    }

inserted:
    /* Its COMMIT, and then the answer (gateway/batcher.py, `_finish`). If the gateway, the
     * connection or PostgreSQL dies, the client gets 503 or nothing: it does not know, and the row
     * is there or not. Only `acknowledged` hangs on the answer, so it need not come any later. */
    atomic {
        if
        :: status[me] = QUEUED;
#ifndef ACK_BEFORE_COMMIT
           answer(me)
#endif
        :: crashes < CRASHES -> crashes++; status[me] = QUEUED; goto gone
        :: crashes < CRASHES -> crashes++; status[me] = NONE; comes_after[me] = 0; close_up(me);
#ifdef ACK_BEFORE_COMMIT
            promise(acknowledged_is_stored, !(acknowledged & bit(key_of(me))));
#endif
            goto gone
        fi
    }

    /* gateway/purchases/wakeups.py, `_send`, from a thread of its own: the mark, then the message.
     * That it is never sent is like being lost, which is in `Redis`. A replay sends none. */
#ifdef WAKEUPS_ALONE
    atomic {
        if
        :: mark -> goto gone
        :: else -> mark = true
        fi
    }
#endif
    send_wakeup();
gone:
    skip
}

/* --- The worker and the sweeper ---------------------------------------------------------------- */

#define outcome_of(row) (((confirmed & bit(row)) != 0) -> CONFIRMED : REJECTED)

/*
 * purchase_worker/store.py, READ_QUEUES: the oldest queued rows, with a snapshot of its own; then
 * purchase_worker/decision.py, `decide`, which needs nothing but what was read.
 */
inline read_and_decide() {
    batch = 0; confirmed = 0; rows = 0; confirmed_now = 0;
    for (n : 1 .. last_seq) {
        for (row : 0 .. TRIES - 1) {
            if
            :: status[row] == QUEUED && seq[row] == n && rows < BATCH ->
                rows++;
                batch = batch | bit(row);
                if
                :: confirmed_now + quantity_of(row) <= left ->
                    confirmed_now = confirmed_now + quantity_of(row);
                    confirmed = confirmed | bit(row)
                :: else
                fi
            :: else
            fi
        }
    }
}

/* The state guard: WRITE takes rows without a decision (`p.decision_number IS NULL`), and the trigger
 * ticket_purchases_immutable refuses any other. */
#ifdef NO_STATE_GUARD
#define may_write(row) true
#else
#define may_write(row) (!is_decided(row))
#endif

/* The guards of the counter: a number is given once (ticket_purchases_decisions), the counter moves
 * by what was decided (ticket_inventory_moves_by_decisions), and never above what was issued. */
#ifdef NO_COUNTER_GUARD
#define counter_refuses false
#else
#define counter_refuses \
    (rows > 0 && (decisions != before || found != rows || sold + confirmed_now > CAPACITY))
#endif

/* Each row gets its outcome, in the order of the queue. */
inline give_outcomes() {
    for (n : 0 .. last_seq) {
        for (row : 0 .. TRIES - 1) {
            if
            :: (batch & bit(row)) && seq[row] == n && may_write(row) ->
                outcome = outcome_of(row);
                promise(outcome_never_changes, shown[row] == NONE || shown[row] == outcome);
                promise(decided_once, status[row] == QUEUED);
                promise(first_come_first_served, comes_after[row] == 0);
                status[row] = outcome;
                shown[row] = outcome;
                for (other : 0 .. TRIES - 1) {
                    set_aside(other, key_of(row))
                }
            :: else
            fi
        }
    }
    for (row : 0 .. TRIES - 1) {
        if
        :: is_decided(row) && seq[row] > 0 -> close_up(row)
        :: else
        fi
    }
}

/*
 * store.py, WRITE, with the COMMIT that travels with it. PostgreSQL has a second writer of the same
 * rows wait for this commit and then read again, so the two are one step even without our lock.
 */
inline write_and_commit() {
    rows = 0; found = 0; confirmed_now = 0;
    for (row : 0 .. TRIES - 1) {
        if
        :: batch & bit(row) ->
            rows++;
            found = found + may_write(row);
            confirmed_now = confirmed_now + (outcome_of(row) == CONFIRMED -> quantity_of(row) : 0)
        :: else
        fi
    }
    refused = counter_refuses;
#ifndef GUARDS_MAY_REFUSE
    promise(no_guard_was_asked, !refused && found == rows);
#endif
    if
    :: refused || rows == 0 -> batch = 0    /* it is rolled back whole */
    :: else ->
        give_outcomes();
        sold = sold + confirmed_now;
        decisions = decisions + found;
#ifndef ONLY_OUTCOMES
        promise(never_oversold, sold <= CAPACITY);
        promise(sold_is_what_was_confirmed,
                sold == (status[0] == CONFIRMED) * quantity_of(0)
                      + (status[1] == CONFIRMED) * quantity_of(1)
                      + (status[2] == CONFIRMED) * quantity_of(2));
#endif
    fi
}

/*
 * purchase_worker/publish/results.py: SET of each result, and PUBLISH. Redis may lose them; a client then
 * reads PostgreSQL. No step of the protocol reads a result, so all that matters is that it is true.
 */
inline publish() {
    for (row : 0 .. TRIES - 1) {
        if
        :: batch & bit(row) ->
            outcome = outcome_of(row);
            promise(outcome_never_changes, shown[row] == NONE || shown[row] == outcome);
            shown[row] = outcome;
            promise(result_never_ahead_of_database, status[row] == outcome)
        :: else
        fi
    }
}

/* A process that has nothing to do remembers nothing. */
inline forget() {
    retried = false; cleared = 0; batch = 0; confirmed = 0; left = 0; before = 0
}

inline unlock() {
    if
    :: locked_by == _pid -> locked_by = NOBODY
    :: else
    fi
}

/*
 * A child of the worker, in purchase_worker/tasks.py, `decide_queues`; or the sweeper, in
 * purchase_worker/sweep.py, `sweep`. Both take their turn in purchase_worker/drain.py, `drain`.
 *
 * Killed with -9 it starts again, and PostgreSQL frees its lock. A transaction that PostgreSQL ended
 * looks the same: the worker gives up its turn. Killed while it holds no lock, a worker has lost a
 * wake-up and nothing else, which is in `Redis`.
 *
 * A read that changes nothing may happen at any time. So of two reads in a row only the last is here:
 * lingering (consumer/linger.py), for example, is a last read that comes late.
 */
proctype Drainer(bool sweeps) {
    bool retried;       /* it skipped the locked row, and tried again */
    byte cleared;       /* of the mark, in this task: 1 yes, 2 and something was decided since */
    byte batch;         /* the rows that it read, one bit each, */
    byte confirmed;     /* and of these the ones that it confirms */
    byte left, before;  /* the counter as read under the lock: tickets, decisions */

end_idle:
    /* A worker takes a message, which is acknowledged at once, or will be delivered again. The
     * sweeper looks for what was queued too long (store.py, QUEUED_TOO_LONG), with or without Redis;
     * here that is any time. Then the first read of a drain (store.py, QUEUED_AMONG). */
    atomic {
        if
        :: !sweeps && wakeups > 0 -> wakeups--
#ifndef WAKEUPS_ALONE
        :: !sweeps && wakeups > 0
#endif
#ifdef ONE_SWEEP
        :: sweeps && some_queued && !swept -> swept = true
#else
        :: sweeps && some_queued
#endif
        fi;
        if
        :: some_queued
        :: else -> goto emptied
        fi
    }

lock:
#ifdef READ_BEFORE_LOCK
    left = CAPACITY - sold;
    d_step { read_and_decide() }
#endif
    /* store.py, LOCK_INVENTORIES: FOR NO KEY UPDATE SKIP LOCKED. It reads the counter as of when
     * the lock is acquired, not as of when the statement began. */
    atomic {
#ifndef NO_LOCK
        if
        :: locked_by == NOBODY -> locked_by = _pid
        :: else -> goto skipped
        fi;
#endif
        left = CAPACITY - sold; before = decisions
    }

#ifndef READ_BEFORE_LOCK
    d_step { read_and_decide() }
#endif
#ifdef PUBLISH_BEFORE_COMMIT
    d_step { publish() }
#endif

    /* It may have found nothing, for another was faster. Then it rolls back, which frees the lock.
     * drain.py: `publish` comes after the commit; here at once, when it could be ahead of others. It
     * may crash before the commit, or after it and not publish. */
    atomic {
        if
        :: write_and_commit();
#ifndef PUBLISH_BEFORE_COMMIT
            publish()
#endif
        :: crashes < CRASHES -> crashes++; refused = true
        :: crashes < CRASHES -> crashes++; write_and_commit(); refused = true
        fi;
        unlock();
        if
        :: refused -> forget(); goto end_idle
        :: else
        fi;
#ifdef WAKEUPS_ALONE
        cleared = (cleared == 1 && batch != 0 -> 2 : cleared);
#endif
        batch = 0; confirmed = 0; left = 0; before = 0
    }

    /* store.py, `_end`: the read of the queue is sent with the COMMIT and runs after it, without the lock. On
     * with the next batch; or the turn is over (drain_max_batches), then a worker goes to the back of
     * the broker's queue (celery_app.py) and the sweeper begins another pass. */
    atomic {
        if
        :: !some_queued -> goto emptied
        :: some_queued -> goto lock
        :: some_queued && !sweeps -> send_wakeup(); forget(); goto end_idle
        :: some_queued && sweeps -> forget(); goto end_idle
        fi
    }

skipped:
    /* drain.py, `decide_batch`: it reads the queue. If something is queued it tries again, here once. */
    atomic {
        if
        :: !some_queued -> goto emptied
        :: some_queued && !retried -> retried = true; goto lock
        :: some_queued && retried -> forget(); goto end_idle
        fi
    }

emptied:
    /* tasks.py: the mark is cleared, and then the queue is read once more. What is decided then
     * may have marked a wake-up that another worker received and skipped, so the mark is cleared again; after a few
     * times the worker goes to the back of the broker's queue. */
#ifdef WAKEUPS_ALONE
    atomic {
        if
        :: may_clear -> mark = false; cleared = 1; retried = false
        :: may_clear && cleared == 2 -> send_wakeup(); forget(); goto end_idle
        :: else -> forget(); goto end_idle
        fi
    }
#ifndef NO_READ_AFTER_CLEARING
    if
    :: some_queued -> goto lock
    :: else -> goto emptied
    fi;
#endif
#endif
    forget(); goto end_idle
}

/* Redis may forget anything, and being wiped is to forget all. */
proctype Redis() {
end:
    do
    :: atomic { mark -> mark = false }              /* wakeup_ttl_ms are over */
#ifndef WAKEUPS_ALONE
    :: atomic { wakeups > 0 -> wakeups-- }
#endif
    od
}

#ifdef WAKEUPS_ALONE
/* Without faults all comes to rest. Then nothing may be left behind. */
proctype Rest() {
end:
    timeout -> promise(nothing_left_behind, all_decided)
}
#endif

init {
    atomic {
        run Drainer(false); run Drainer(false);
#ifndef NO_SWEEPER
        run Drainer(true);
#endif
        run Redis();
#ifdef WAKEUPS_ALONE
        run Rest();
#endif
        run Try(0); run Try(1); run Try(2)
    }
}
