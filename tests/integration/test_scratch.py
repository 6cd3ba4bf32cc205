import time, psycopg2
from tests.conftest import *
def test_it(engine, settings, database_url):
    from shared.database import session
    from gateway.purchases import store
    from gateway.purchases.store import Filter
    from gateway.accounts import store as acc
    from catalog import event_store
    from shared.paging import PageWanted
    from sqlalchemy.orm import Session
    raw = psycopg2.connect(database_url); raw.autocommit=True; c=raw.cursor()
    c.execute("SET session_replication_role=replica")
    c.execute("INSERT INTO users(username) SELECT 'u'||g FROM generate_series(1,1000) g")
    c.execute("INSERT INTO events(title,description,start_time,end_time,owner_id,search_text) SELECT 'Event '||md5(g::text), repeat(md5(g::text)||' ', 30), now()+g*interval '1 s', now()+g*interval '2 s', 1, 'event '||md5(g::text)||repeat(md5(g::text)||' ',30) FROM generate_series(1,200000) g")
    c.execute("INSERT INTO ticket_types(event_id,name,price) VALUES (1,'x',1),(1,'y',1)")
    c.execute("INSERT INTO ticket_inventory(ticket_type_id,issued,sold) VALUES (1,1000000,0),(2,10,0)")
    t=time.time()
    c.execute("INSERT INTO ticket_purchases(id,user_id,ticket_type_id,quantity,unit_price,status,decided_at,decision_number,left_after) SELECT gen_random_uuid(),1,1,1,1,'confirmed',now(),g,1000000 FROM generate_series(1,1000000) g")
    c.execute("WITH f AS (SELECT gen_random_uuid() id FROM generate_series(1,1000000)) INSERT INTO refresh_tokens(id,family,user_id,issued_at,expires_at) SELECT id,id,1,now()-interval '9 days', now()-interval '2 days' FROM f")
    c.execute("WITH f AS (SELECT gen_random_uuid() id FROM generate_series(1,1000000)) INSERT INTO refresh_tokens(id,family,user_id,issued_at,expires_at) SELECT id,id,1,now(), now()+interval '2 days' FROM f")
    c.execute("ANALYZE")
    print("filled", time.time()-t)
    def timed(name, f):
        for i in range(2):
            t=time.time()
            try: r=f()
            except Exception as e: r=repr(e)[:200]
            print(f"{name:40} {1e3*(time.time()-t):8.0f} ms", str(r)[:60])
    L=lambda f,n: timed(f"list {f} {n}", lambda: store.list_of_user(engine, f, lambda c: min(n,c-20), 20, position_max_rows=1000)[0])
    L(Filter(1,None,None),0); L(Filter(1,None,None),999900); L(Filter(1,"confirmed",None),0); L(Filter(1,"rejected",None),0); L(Filter(1,"confirmed",1),999900); L(Filter(1,None,2),0);L(Filter(2,None,2),0)
    timed("delete_expired", lambda: acc.delete_expired(engine,1000))
    for order in ("id","-id","title","-title","end_time","-end_time","start_time"):
      for n in (1, 4999):
        def go():
            with Session(engine) as s:
                return event_store.page(s, event_store.matching(search="",owner_id=1,starts_after=None,ordering=order), PageWanted(n,20,"x"))[0]
        timed(f"events {order} {n}", go)
    def se():
        with Session(engine) as s:
            return event_store.page(s, event_store.matching(search="ab cd",owner_id=1,starts_after=None,ordering="title"), PageWanted(1,20,"x"))[0]
    timed("search", se)
    def tt():
        c.execute("EXPLAIN ANALYZE SELECT count(*) FROM ticket_types WHERE event_id=1")
    from catalog.event_store import has_purchases
    timed("event has_purchases", lambda: has_purchases(Session(engine),1))
