/*
 * Where a lane begins to read its work list (docs/decisions/0021), for Spin. README.md says what is
 * checked and what is not.
 *
 * The work list is read from `done_seq` on: no purchase up to there waits, and none can come any
 * more. Then it changes nothing of what eventify.pml checks; therefore it is checked apart, with the
 * ids of transactions and the snapshots that PostgreSQL gives. Each purchase is a transaction of its
 * own; the worker is whoever holds the lane's lock.
 *
 * What #ifdef asks for are other versions, broken on purpose: check.py lists them.
 */

#define PURCHASES 5
#define BATCH     2

/* --- PostgreSQL -------------------------------------------------------------------------------- */

byte next_xid = 1;              /* ids of transactions, in the order in which they are given */
byte highest_ended;             /* of those that have ended */
byte xid[PURCHASES];            /* 0: it has none, or has ended */
byte next_seq = 1;
byte seq[PURCHASES];            /* 0: not drawn, decided, or rolled back */
bool listed[PURCHASES];         /* its row of the work list is committed, and not deleted */

/* The lane's row. */
byte done_seq;
byte next_done_seq;             /* this will be `done_seq`, */
byte next_done_xid;             /* once all transactions below this one have ended. */
#define NOT_YET 255             /* the next batch will say which */

/* The promise. */
hidden byte nothing_comes_below_the_mark;
#define promise(name, holds) name = (holds); assert(name)

hidden byte n, row, rows;

inline ended(transaction) {
    highest_ended = (transaction > highest_ended -> transaction : highest_ended);
    transaction = 0
}

/* The gateway: gateway/purchases/store.py asks for the transaction's id before the sequence number,
 * for PostgreSQL would give them the other way round. Ids are given in the order of the processes,
 * of which one is as good as another. */
#define my_turn (me == 0 || begun[me - 1])
bool begun[PURCHASES];

proctype Purchase(byte me) {
#ifdef SEQ_BEFORE_XID
    seq[me] = next_seq; next_seq++;
#endif
    atomic { my_turn; begun[me] = true; xid[me] = next_xid; next_xid++ }
#ifndef SEQ_BEFORE_XID
    atomic { seq[me] = next_seq; next_seq++ }
#endif
    atomic {
        if
        :: listed[me] = true        /* COMMIT */
        :: seq[me] = 0              /* ROLLBACK */
        fi;
        ended(xid[me])
    }
}

/* --- The worker -------------------------------------------------------------------------------- */

#define is_waiting(purchase) (listed[purchase] && seq[purchase] > done_seq)
#define some_wait  (is_waiting(0) || is_waiting(1) || is_waiting(2) || is_waiting(3) || is_waiting(4))

/* purchase_worker/store.py: the first purchases beyond `done_seq`, as of a snapshot. Its xmin is the
 * lowest id that is running, its xmax one past the highest that has ended. */
inline read_list() {
    xmin = own; xmax = highest_ended + 1; last = 0; rows = 0;
    for (row : 0 .. PURCHASES - 1) {
        xmin = (xid[row] > 0 && xid[row] < xmin -> xid[row] : xmin)
    }
    for (n : done_seq + 1 .. next_seq) {
        for (row : 0 .. PURCHASES - 1) {
            if
            :: listed[row] && seq[row] == n && rows < BATCH -> rows++; last = n
            :: else
            fi
        }
    }
}

inline move_marks() {
    if
    :: next_done_xid == NOT_YET -> next_done_xid = own
    :: next_done_xid != NOT_YET && xmin >= next_done_xid ->
        n = (last < next_done_seq -> last : next_done_seq);
        done_seq = (n > done_seq -> n : done_seq);
        next_done_seq = last;
#ifdef XMAX_OF_THE_SNAPSHOT
        next_done_xid = xmax
#else
#ifdef OWN_XID
        next_done_xid = own
#else
        next_done_xid = NOT_YET
#endif
#endif
    :: else
    fi
}

/* A purchase whose sequence number is drawn, and which is not decided. */
#define may_be_missed(purchase) (seq[purchase] != 0 && seq[purchase] <= done_seq)

proctype Lane() {
    byte own, xmin, xmax, last;

end:
    do
    :: atomic { some_wait -> own = next_xid; next_xid++ };  /* the lock takes an id */
        d_step { read_list() };
        atomic {
            for (row : 0 .. PURCHASES - 1) {
                if
                :: listed[row] && seq[row] > done_seq && seq[row] <= last ->
                    listed[row] = false; seq[row] = 0
                :: else
                fi
            }
            move_marks();
            ended(own);
            xmin = 0; xmax = 0; last = 0;
            promise(nothing_comes_below_the_mark, !(may_be_missed(0) || may_be_missed(1)
                || may_be_missed(2) || may_be_missed(3) || may_be_missed(4)))
        }
    od
}

init {
    atomic {
        run Lane();
        run Purchase(4); run Purchase(3); run Purchase(2); run Purchase(1); run Purchase(0)
    }
}
