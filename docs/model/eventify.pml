/*
 * How a command is accepted and decided in its lane, for Spin. README.md says what is checked and
 * what is not.
 *
 * One event, which is one lane, with two ticket types: 2 tickets of the first and 1 of the second.
 * Three commands: buy 2 of the first, buy a cart of 1 and 1, buy 1 of the second. Instead of the
 * last there is
 *   (REPEATED)         the first, sent once more under the same Idempotency-Key;
 *   (RESOLUTION)       a command that outranks purchases: it withdraws 1 of the second;
 *   (CAPACITY_CHANGE)  the catalog, which issues or withdraws 1 of the first.
 * Each step below is one step of the code: a statement, a commit, commands to Redis. Between any two
 * of them every other process may go as far as it likes; so a process that is slow, or is stopped
 * and goes on, is covered.
 *
 * What #ifdef asks for are other versions, most of them broken on purpose: check.py lists them.
 */

#define COMMANDS 3
#define TYPES    2
#define BATCH    2      /* commands of a batch: some lists take one batch, some take two */

/* Messages that the broker holds, and crashes of all processes together. */
#ifdef WAKEUPS_ALONE
#define WAKEUPS 3
#define CRASHES 0
#else
#define WAKEUPS 1       /* it may be delivered again and again, so it stands for any number */
#define CRASHES 2
#endif

/* Whether a worker that has emptied the work list clears the mark of wake-ups. */
#ifdef CLEARED_ONCE
#define may_clear (!sweeps && cleared == 0)
#else
#define may_clear (!sweeps && cleared != 1)
#endif

#ifdef REPEATED
#define key_of(command)   (command % 2)
#define has_twin(command) (command != 1)
#define twin_of(command)  (command == 1 -> 1 : 2 - command)    /* the other with the same key */
#else
#define key_of(command)   (command)
#define has_twin(command) false
#define twin_of(command)  command
#endif
#define bit(n)            (1 << (n))

/* Tickets that a command wants: 2 + 0, 1 + 1 and 0 + 1. Not all of them fit. */
#define wanted(command, type) (type == 0 -> 2 - key_of(command) : key_of(command) != 0)
#define line(command, type)   bit(TYPES * (command) + (type))
#define lines_wanted(command) ((wanted(command, 0) > 0) + 2 * (wanted(command, 1) > 0))

/* Class 0 of the work list; purchases are class 1. */
#ifdef RESOLUTION
#define is_resolution(command) (command == 2)
#else
#define is_resolution(command) false
#endif

/* --- PostgreSQL -------------------------------------------------------------------------------- */

/* requests: OPEN is inserted by a transaction that has not ended. */
#define NONE   0
#define OPEN   1
#define STORED 2
byte request[COMMANDS];
byte seq[COMMANDS];     /* drawn when it is inserted; commits come in any order. Only the order of
                         * what is in the work list matters, so the numbers are kept at 1, 2, ... */
byte last_seq;
#define is_stored(command) (request[command] == STORED)

byte work_list;         /* one bit for each command that waits for a decision */
#define is_listed(command) ((work_list & bit(command)) != 0)
#define some_work          (work_list != 0)

/* The ledger. An entry answers a command and says which of its lines it got, by one bit each: all
 * are `confirmed`, none is `rejected`. Numbers are given in the order of writing. */
#define NO_ENTRY 0
#define ANSWER   4
byte entry[COMMANDS];
#define is_decided(command) (entry[command] != NO_ENTRY)

#define ISSUED    1
#define WITHDRAWN 2
byte change;            /* the entry of the catalog, which never was in the work list */

byte lane_number;       /* lanes: entries so far */
byte left[TYPES];       /* counters: issued - sold */
#define NOBODY 0
byte locked_by;         /* who holds the lock on the lane's row */

/* What follows from the entries alone, without lane and counters. */
#define entries       (is_decided(0) + is_decided(1) + is_decided(2) + (change != NO_ENTRY))
#define issued(type)  (2 - type + (type == 0) * ((change == ISSUED) - (change == WITHDRAWN)))
#define taken_by(command, type) (((entry[command] & bit(type)) != 0) * wanted(command, type))
#define taken(type)   (taken_by(0, type) + taken_by(1, type) + taken_by(2, type))

/* --- Redis ------------------------------------------------------------------------------------- */

/*
 * Wake-ups are lost, late and doubled. The key in Redis that marks one as under way only keeps more
 * from being sent, so with such wake-ups it changes nothing. It is there where wake-ups are reliable
 * (WAKEUPS_ALONE), to see whether they are enough without the sweeper.
 */
byte wakeups;           /* Celery's messages: all of them say "this event has work" */
bool mark;

/* --- Bounds, and what is remembered to hold the promises against. No step asks for the latter. -- */

byte crashes;
bool swept;
byte acknowledged;      /* purchases that were: one bit for each key */
byte told;              /* the purchase that answers to the repeated key named, plus one */
byte comes_after[COMMANDS]; /* keys acknowledged before this was sent, and not decided yet */

/* The promises. A counterexample names the one that was broken. */
hidden byte never_oversold, cart_all_or_nothing, acknowledged_is_stored, decided_once,
    result_never_ahead_of_database, first_come_first_served, resolutions_first,
    same_key_same_purchase, numbers_without_a_gap, left_is_right, work_list_is_what_is_undecided,
    no_guard_was_asked, nothing_left_behind;
#define promise(name, holds) name = (holds); assert(name)

/*
 * Whatever was stored is decided in the end, also where its answer was lost. What was acknowledged
 * was stored: that is a promise of its own. All commands come to an end, so "again and again, all
 * that is stored is decided" says "each, in the end".
 */
#define is_settled(command) (!is_stored(command) || is_decided(command))
#define all_decided         (is_settled(0) && is_settled(1) && is_settled(2))

ltl every_purchase_is_decided { [] <> all_decided }

/* Used within one step and nothing in between, so they are no part of a state. */
hidden byte n, row, other, type, rows, found, chosen, refused, rest[TYPES],
    named[TYPES];

/* --- After each commit ------------------------------------------------------------------------- */

#define is_work(command) (is_stored(command) && !is_decided(command))

inline committed() {
    promise(never_oversold, taken(0) <= issued(0) && taken(1) <= issued(1));
#ifndef ONLY_OUTCOMES
    promise(numbers_without_a_gap, lane_number == entries);
    promise(left_is_right, left[0] == issued(0) - taken(0) && left[1] == issued(1) - taken(1));
    promise(work_list_is_what_is_undecided,
            work_list == is_work(0) * bit(0) + is_work(1) * bit(1) + is_work(2) * bit(2))
#endif
}

/* --- The gateway ------------------------------------------------------------------------------- */

/* An answer that names a purchase: 202 Accepted, or the answer to a repeated key. Nothing of it is
 * needed to see whether all is decided in the end (LIVENESS), so there it is left out. The order of
 * arrival is that of purchases. */
inline answer(purchase) {
#ifndef ACK_BEFORE_COMMIT
    promise(acknowledged_is_stored, is_stored(purchase));
#endif
#ifndef LIVENESS
    if
    :: has_twin(me) ->
        promise(same_key_same_purchase, told == 0 || told == purchase + 1);
        told = purchase + 1
    :: else
    fi;
    acknowledged = acknowledged | (is_resolution(me) -> 0 : bit(key_of(me)))
#endif
}

/* `command` need not come after this key, or no longer. */
inline set_aside(command, key) {
    comes_after[command] = comes_after[command] & (bit(COMMANDS) - 1 - bit(key))
}

/* The number goes with the row. */
inline close_up(gone) {
    for (other : 0 .. COMMANDS - 1) {
        seq[other] = seq[other] - (seq[other] > seq[gone])
    }
    seq[gone] = 0;
    last_seq--
}

inline must_wait() {
    comes_after[me] = acknowledged;
    for (other : 0 .. COMMANDS - 1) {
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
    request[me] = OPEN;
#ifdef ACK_BEFORE_COMMIT
    answer(me)
#endif
}

inline store_request() {
    request[me] = STORED;
#ifndef WORK_ROW_APART
    work_list = work_list | bit(me);
#endif
    committed()
}

/* So many messages are as good as one more. */
inline send_wakeup() {
    wakeups = wakeups + (wakeups < WAKEUPS)
}

#define is_sold_out(command) \
    ((wanted(command, 0) > 0 && left[0] == 0) || (wanted(command, 1) > 0 && left[1] == 0))

/*
 * A request is sent: gateway/purchases/service.py, `buy` and `_accept`. The requests of a batch
 * share a statement and its commit; here each is alone, which lets more happen in between.
 */
proctype Command(byte me) {
look:
    /* gateway/purchases/store.py: what the snapshot of the accept statement sees. An earlier
     * purchase with the same key outranks a refusal, and nothing is stored of what is sold out.
     * Whatever was acknowledged by now has to be decided first, though this was sent a moment ago
     * already. None of it is for a resolution. */
    atomic {
        if
        :: has_twin(me) && is_stored(twin_of(me)) -> answer(twin_of(me)); goto gone
        :: else
        fi;
        if
        :: is_resolution(me)
        :: !is_resolution(me) && is_sold_out(me) -> goto gone
        :: !is_resolution(me) && !is_sold_out(me) -> must_wait()
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
        request[twin_of(me)] != OPEN;
        if
        :: is_stored(twin_of(me)) -> comes_after[me] = 0; goto look
        :: else
        fi;
#endif
        insert()
    }

inserted:
    /* Its COMMIT: the request and its row in the work list. Then the answer (`_finish` of the
     * batcher). If the gateway, the connection or PostgreSQL dies, the client gets 503 or nothing:
     * it does not know, and both rows are there or neither. Only `acknowledged` hangs on the
     * answer, so it need not come any later. */
    atomic {
        if
        :: store_request();
#ifndef ACK_BEFORE_COMMIT
           answer(me)
#endif
        :: crashes < CRASHES -> crashes++; store_request(); goto gone
        :: crashes < CRASHES -> crashes++; request[me] = NONE; comes_after[me] = 0; close_up(me);
#ifdef ACK_BEFORE_COMMIT
            promise(acknowledged_is_stored, !(acknowledged & bit(key_of(me))));
#endif
            goto gone
        fi
    }
#ifdef WORK_ROW_APART
    atomic {
        if
        :: work_list = work_list | bit(me)
        :: crashes < CRASHES -> crashes++; goto gone
        fi
    }
#endif

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

/* The order of the work list: class, then sequence number. */
#ifdef BY_SEQ_ALONE
#define rank(command) seq[command]
#else
#define rank(command) (is_resolution(command) -> 0 : seq[command])
#endif

/* purchase_worker/store.py: the first rows of the work list, with a snapshot of its own. */
inline read_list() {
    batch = 0; rows = 0;
    for (n : 0 .. last_seq) {
        for (row : 0 .. COMMANDS - 1) {
            if
            :: is_listed(row) && rank(row) == n && rows < BATCH ->
                rows++;
                batch = batch | bit(row);
                for (other : 0 .. COMMANDS - 1) {
                    promise(resolutions_first, is_resolution(row) || !is_resolution(other)
                                               || !is_listed(other) || (batch & bit(other)))
                }
            :: else
            fi
        }
    }
}

inline read_counters() {
    before[0] = left[0]; before[1] = left[1]
}

#ifdef LINES_APART
#define fits(command, line_type) (wanted(command, line_type) <= rest[line_type])
#else
#define fits(command, line_type) \
    (wanted(command, 0) <= rest[0] && wanted(command, 1) <= rest[1])
#endif

/* purchase_worker/decision.py, `decide`: it needs nothing but what was read. */
inline decide() {
    taking = 0;
    rest[0] = before[0]; rest[1] = before[1];
    for (n : 0 .. last_seq) {
        for (row : 0 .. COMMANDS - 1) {
            if
            :: (batch & bit(row)) && rank(row) == n ->
                for (type : 0 .. TYPES - 1) {
                    taking = taking |
                        (wanted(row, type) > 0 && fits(row, type) -> line(row, type) : 0)
                }
                for (type : 0 .. TYPES - 1) {
                    rest[type] = rest[type] - ((taking & line(row, type)) != 0) * wanted(row, type)
                }
            :: else
            fi
        }
    }
}

#define lines_taken(command) ((taking >> (TYPES * command)) & (bit(TYPES) - 1))
#define outcome_of(command)  (ANSWER + lines_taken(command))

/* The guard of answers: each command has one entry (unique). */
#ifdef NO_ANSWER_GUARD
#define answers_refuse false
#else
#define answers_refuse (found != rows)
#endif

/* The guards of numbers: each is given once (the primary key), the lane moves by the entries, and
 * what they leave of the ticket types that they name is what the counters say. So whatever was read
 * has to be what is there. */
#ifdef NO_NUMBER_GUARD
#define numbers_refuse false
#else
#define numbers_refuse (number != lane_number || (named[0] && before[0] != left[0]) \
                                              || (named[1] && before[1] != left[1]))
#endif

/* INSERT INTO ledger, in the order of the batch, with the lane and the counters. */
inline write_entries() {
    for (n : 0 .. last_seq) {
        for (row : 0 .. COMMANDS - 1) {
            if
            :: (batch & bit(row)) && rank(row) == n ->
                promise(decided_once, !is_decided(row));
                promise(first_come_first_served, comes_after[row] == 0);
                promise(cart_all_or_nothing,
                        lines_taken(row) == 0 || lines_taken(row) == lines_wanted(row));
                number++;
#ifndef ONLY_OUTCOMES
                promise(numbers_without_a_gap, number == entries + 1);
#endif
                entry[row] = outcome_of(row);
                for (type : 0 .. TYPES - 1) {
                    before[type] = before[type] - taken_by(row, type);
                    left[type] = left[type] - taken_by(row, type);
#ifndef ONLY_OUTCOMES
                    promise(left_is_right, wanted(row, type) == 0
                                           || before[type] == issued(type) - taken(type))
#endif
                }
                for (other : 0 .. COMMANDS - 1) {
                    set_aside(other, key_of(row))
                }
            :: else
            fi
        }
    }
    lane_number = number
}

/* DELETE FROM work_list, in the same transaction. */
inline delete_work_rows() {
    for (row : 0 .. COMMANDS - 1) {
        if
        :: (batch & bit(row)) && is_listed(row) ->
            work_list = work_list - bit(row);
            close_up(row)
        :: else
        fi
    }
}

/*
 * store.py: the entries, the work rows, lane and counters in one statement, with the COMMIT that
 * travels with it. PostgreSQL has a second writer of the same number or the same answer wait for this
 * commit and then refuses it, so the two are one step even without our lock.
 */
inline write_and_commit() {
    rows = 0; found = 0; named[0] = false; named[1] = false;
    for (row : 0 .. COMMANDS - 1) {
        if
        :: batch & bit(row) ->
            rows++;
            found = found + !is_decided(row);
            for (type : 0 .. TYPES - 1) {
                named[type] = named[type] || wanted(row, type) > 0
            }
        :: else
        fi
    }
    refused = (rows > 0 && (answers_refuse || numbers_refuse));
#ifndef GUARDS_MAY_REFUSE
    promise(no_guard_was_asked, !refused);
#endif
    if
    :: refused || rows == 0 -> batch = 0    /* it is rolled back whole */
    :: else ->
        write_entries();
        delete_work_rows();
        committed()
    fi
}

/*
 * purchase_worker/publish/results.py: SET of each result, and PUBLISH. Redis may lose them; a client
 * then reads PostgreSQL. No step of the protocol reads a result, so all that matters is that it says
 * what the ledger says, and that is never rewritten.
 */
inline publish() {
    for (row : 0 .. COMMANDS - 1) {
        if
        :: batch & bit(row) ->
            promise(result_never_ahead_of_database, entry[row] == outcome_of(row))
        :: else
        fi
    }
}

inline forget_batch() {
    batch = 0; taking = 0; number = 0; before[0] = 0; before[1] = 0
}

/* A process that has nothing to do remembers nothing. */
inline forget() {
    retried = false; cleared = 0; forget_batch()
}

inline unlock() {
    if
    :: locked_by == _pid -> locked_by = NOBODY
    :: else
    fi
}

/*
 * A child of the worker, in purchase_worker/tasks.py; or the sweeper, in purchase_worker/sweep.py.
 * Both take their turn in purchase_worker/drain.py, `drain`.
 *
 * Killed with -9 it starts again, and PostgreSQL frees its lock. A transaction that PostgreSQL ended
 * looks the same: the worker gives up its turn. Killed while it holds no lock, a worker has lost a
 * wake-up and nothing else, which is in `Redis`.
 *
 * A read that changes nothing may happen at any time. So of two reads in a row only the last is here:
 * lingering (consumer/linger.py), for example, is a last read that comes late.
 */
proctype Drainer(bool sweeps) {
    bool retried;       /* it skipped the locked lane, and tried again */
    byte cleared;       /* of the mark, in this task: 1 yes, 2 and something was decided since */
    byte number, before[TYPES]; /* the lane and what was left, as read under the lock */
    byte batch;         /* the commands that it read, one bit each, */
    byte taking;        /* and the lines of them that it confirms */

end_idle:
    /* A worker takes a message, which is acknowledged at once, or will be delivered again. The
     * sweeper looks for what was queued too long, with or without Redis; here that is any time.
     * Then the first read of a drain. */
    atomic {
        if
        :: !sweeps && wakeups > 0 -> wakeups--
#ifndef WAKEUPS_ALONE
        :: !sweeps && wakeups > 0
#endif
#ifdef ONE_SWEEP
        :: sweeps && some_work && !swept -> swept = true
#else
        :: sweeps && some_work
#endif
        fi;
        if
        :: some_work
        :: else -> goto emptied
        fi
    }

lock:
#ifdef LIST_BEFORE_LOCK
    atomic { read_list() }
#endif
#ifdef COUNTERS_BEFORE_LOCK
    atomic { read_counters() }
#endif
    /* store.py: the lane's row, FOR NO KEY UPDATE SKIP LOCKED. Of that row it reads what is there when
     * the lock is acquired; of other tables it would read what was there when it began. So a
     * statement that begins later reads the counters, which nobody else can change now, and the
     * work list, which grows. */
    atomic {
#ifndef NO_LOCK
        if
        :: locked_by == NOBODY -> locked_by = _pid
        :: else -> forget_batch(); goto skipped
        fi;
#endif
        number = lane_number;
#ifndef COUNTERS_BEFORE_LOCK
        read_counters()
#endif
    }

    d_step {
#ifndef LIST_BEFORE_LOCK
        read_list();
#endif
        decide()
    }
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
#ifdef DELETED_APART
        :: crashes < CRASHES -> crashes++; delete_work_rows(); committed(); refused = true
#endif
#ifdef LEFT_BEHIND
        :: crashes < CRASHES -> crashes++; write_entries(); committed(); refused = true
#endif
        fi;
        unlock();
        if
        :: refused -> forget(); goto end_idle
        :: else
        fi;
#ifdef WAKEUPS_ALONE
        cleared = (cleared == 1 && batch != 0 -> 2 : cleared);
#endif
        forget_batch()
    }

    /* store.py, `_end`: the next read is sent with the COMMIT and runs after it, without the lock. On
     * with the next batch; or the turn is over (drain_max_batches), then a worker goes to the back
     * of the broker's queue (celery_app.py) and the sweeper begins another pass. */
    atomic {
        if
        :: !some_work -> goto emptied
        :: some_work -> goto lock
        :: some_work && !sweeps -> send_wakeup(); forget(); goto end_idle
        :: some_work && sweeps -> forget(); goto end_idle
        fi
    }

skipped:
    /* drain.py, `drain`: it reads the work list. If anything is there it tries again, here once. */
    atomic {
        if
        :: !some_work -> goto emptied
        :: some_work && !retried -> retried = true; goto lock
        :: some_work && retried -> forget(); goto end_idle
        fi
    }

emptied:
    /* tasks.py: the mark is cleared, and then the work list is read once more. What is decided then
     * may have marked a wake-up that another worker received and skipped, so the mark is cleared
     * again; after a few times the worker goes to the back of the broker's queue. */
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
    :: some_work -> goto lock
    :: else -> goto emptied
    fi;
#endif
#endif
    forget(); goto end_idle
}

/* --- The catalog ------------------------------------------------------------------------------- */

#ifdef CAPACITY_CHANGE
/*
 * catalog/ticket_types/store.py: an owner issues a ticket or withdraws one. That waits for the lane's
 * lock; then `eventify_issue`, in SQL, writes request and entry, batch, lane and counter.
 */
proctype Catalog() {
    byte number, before[TYPES];     /* as in a drainer */

    atomic {
#ifndef NO_CATALOG_LOCK
        locked_by == NOBODY -> locked_by = _pid;
#endif
        number = lane_number; before[0] = left[0]
    }
    atomic {
        if
        :: crashes < CRASHES -> crashes++; chosen = NO_ENTRY
        :: before[0] > 0 -> chosen = WITHDRAWN
        :: chosen = ISSUED
        fi;
        named[0] = true; named[1] = false;
        refused = (chosen != NO_ENTRY && numbers_refuse);
#ifndef GUARDS_MAY_REFUSE
        promise(no_guard_was_asked, !refused);
#endif
        if
        :: chosen == NO_ENTRY || refused
        :: else ->
            number++;
#ifndef ONLY_OUTCOMES
            promise(numbers_without_a_gap, number == entries + 1);
#endif
            change = chosen;
            left[0] = left[0] + (chosen == ISSUED) - (chosen == WITHDRAWN);
            lane_number = number;
            committed()
        fi;
        unlock(); number = 0; before[0] = 0
    }
}
#endif

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
        left[0] = issued(0); left[1] = issued(1);
        run Drainer(false); run Drainer(false);
#ifndef NO_SWEEPER
        run Drainer(true);
#endif
        run Redis();
#ifdef WAKEUPS_ALONE
        run Rest();
#endif
#ifdef CAPACITY_CHANGE
        run Catalog();
#else
        run Command(2);
#endif
        run Command(1); run Command(0)
    }
}
