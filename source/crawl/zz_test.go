package crawl
import ("testing")
func TestZZ(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE ints (id INT PRIMARY KEY)")
	s.numbers("ints", 30000, "n*3 - 45000")
	s.exec("ANALYZE TABLE ints")
	se := s.session(); sh := s.shape("ints")
	n, err := se.explainRows(t.Context(), sh.source(), "TRUE")
	t.Log(n, err)
	n, err = se.explainRows(t.Context(), sh.hinted(), "((`id` <= 0))")
	t.Log(n, err)
	g := &segment{rows: 30000}
	p, _ := se.probe(t.Context(), sh, "TRUE", false, 0); g.low = p.texts
	p, _ = se.probe(t.Context(), sh, "TRUE", true, 0); g.high = p.texts
	x, ok := fraction(&sh.table.Columns[0], g.low[0], g.high[0], 4)
	t.Logf("%q %q %q %v", g.low, g.high, x, ok)
	c, share, err := se.try(t.Context(), sh, g, 0, x, false)
	t.Log(c, share, err)
	b, bal, err := se.guess(t.Context(), sh, g)
	t.Log(b, bal, err)
	before := se.handlerReads(t)
	se.probe(t.Context(), sh, "`id` >= 0 AND id > -40000 AND id < 40000", false, 0)
	t.Log(se.handlerReads(t)-before)
	before = se.handlerReads(t)
	se.explainRows(t.Context(), sh.hinted(), "((`id` <= 0))")
	t.Log(se.handlerReads(t)-before)
	rows, _ := se.conn.QueryContext(t.Context(), "EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM "+sh.source()+" WHERE id <= 0")
	cols, _ := rows.Columns()
	v := make([]any, len(cols)); for i := range v { v[i] = new(any) }
	for rows.Next() { rows.Scan(v...); for i := range v { x := *(v[i].(*any)); if b, ok := x.([]byte); ok { x = string(b) }; t.Log(cols[i], x) } }
	rows.Close()
}
