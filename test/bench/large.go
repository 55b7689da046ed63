package bench

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// largeRow is what a row of the large transaction takes.
const largeRow = 1024

// largeRoom is how many times the transaction's size must be free on the disk: the table, the server's cache of the transaction and the
// binlog, the topic (compressed) and the target.
const largeRoom = 5

// largePatience is how long a gigabyte, or what is less, may take to the target.
const largePatience = 5 * time.Minute

// runLarge is work (g): one transaction, to a topic and on to a shard; what counts is the memory of source and sink.
func (r *run) runLarge(ctx context.Context) error {
	size := r.settings.largeBytes()
	free, err := freeBytes(r.settings.Dir)
	if err != nil {
		return err
	}
	if free < largeRoom*size {
		return fmt.Errorf("%s: %d GB are free where %s is, it needs %d: make room, or choose another folder by TMPDIR",
			workLarge, free>>30, r.settings.Dir, largeRoom*size>>30)
	}
	if err := r.bed.needShards(ctx); err != nil {
		return err
	}
	w := &work{name: workLarge, rows: size / largeRow, table: "large", shape: rows1k}
	p, err := r.piped(ctx, w)
	if err != nil {
		return err
	}
	defer p.stop()
	took, err := r.largeInsert(ctx, w)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := p.caughtUp(ctx, largePatience*time.Duration(max(1, size>>30))); err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	peaks := r.usage(p).peak
	r.report.peak(peaks)
	r.report.tables = append(r.report.tables, table{title: "Large transaction",
		columns: []string{"MB of binlog", "written in, s", "at the target after its commit, s", "source, MB", "sink, MB"},
		rows: [][]string{{fmt.Sprint(w.bytes >> 20), fmt.Sprintf("%.0f", took.Seconds()), fmt.Sprintf("%.0f", time.Since(began).Seconds()),
			fmt.Sprint(peaks["source"] >> 20), fmt.Sprint(peaks["sink mysql"] >> 20)}}})
	r.note("%s: %d MB; peak of the source %d MB, of the sink %d MB", w.name, w.bytes>>20, peaks["source"]>>20, peaks["sink mysql"]>>20)
	if err := r.bed.checkTargets(ctx, w.table, r.bed.targets[0]); err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	if err := p.stop(); err != nil {
		return err
	}
	return r.bed.forgetPipe(ctx, p)
}

// largeInsert writes all rows in one transaction.
func (r *run) largeInsert(ctx context.Context, w *work) (time.Duration, error) {
	began := time.Now()
	var err error
	w.bytes, err = r.bed.written(ctx, func() error {
		tx, err := r.bed.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // does nothing after the commit
		for first := int64(0); first < w.rows; first += numbersMax {
			statement := w.shape.insert(w.table, fmt.Sprint(first), fmt.Sprint(min(numbersMax, w.rows-first)))
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
	return time.Since(began), err
}

func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("ask how much room is at %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}
