package rowdiff

import (
	"bufio"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
)

// run is rows that were written down, by id.
type run struct {
	name string
	rows int64
}

// runBuffer is how much of a run is read and written at a time.
const runBuffer = 64 << 10

// spill writes down what is kept.
func (d *differ) spill() error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if len(d.kept) == 0 {
		return nil
	}
	if err := d.write(d.drain); err != nil || len(d.runs) < d.cfg.MaxRuns {
		return err
	}
	return d.write(d.merge)
}

// write writes a run of the rows that fn adds.
func (d *differ) write(fn func(add func(kept) error) error) error {
	var r run
	var err error
	r.name, err = d.cfg.Runs.Write(func(w io.Writer) error {
		out := bufio.NewWriterSize(w, runBuffer)
		var head []byte
		err := fn(func(k kept) error {
			r.rows++
			head = append(head[:0], byte(k.side))
			head = binary.AppendUvarint(head, uint64(len(k.id)))
			head = append(head, k.id...)
			head = binary.AppendUvarint(head, uint64(len(k.row)))
			if _, err := out.Write(head); err != nil {
				return err
			}
			_, err := out.Write(k.row)
			return err
		})
		if err != nil {
			return err
		}
		return out.Flush()
	})
	if err == nil {
		d.runs = append(d.runs, r)
	}
	return err
}

// merge goes through all runs by id, and gives single the rows that are on one side alone.
func (d *differ) merge(single func(kept) error) error {
	defer d.forget()
	var m merging
	defer m.close()
	for _, r := range d.runs {
		body, err := d.cfg.Runs.Read(r.name)
		if err != nil {
			return err
		}
		m.open = append(m.open, body)
		if err := m.add(&runReader{run: r, in: bufio.NewReaderSize(body, runBuffer)}); err != nil {
			return err
		}
	}
	heap.Init(&m)
	for len(m.heads) > 0 {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		k, err := m.take()
		if err != nil {
			return err
		}
		if len(m.heads) == 0 || m.heads[0].head.id != k.id {
			if err := single(k); err != nil {
				return err
			}
			continue
		}
		other, err := m.take()
		if err != nil {
			return err
		}
		if other.side == k.side || len(m.heads) > 0 && m.heads[0].head.id == k.id {
			return fmt.Errorf("id %q: %w", k.id, ErrTwice)
		}
		if err := d.pair(k.row, other.row); err != nil { // before is first
			return err
		}
	}
	return nil
}

// forget gives up the runs.
func (d *differ) forget() {
	for _, r := range d.runs {
		d.cfg.Runs.Forget(r.name)
	}
	d.runs = nil
}

// runReader reads a run.
type runReader struct {
	run
	in   *bufio.Reader
	head kept
}

// next reads the next row to head; io.EOF behind the last one.
func (r *runReader) next() error {
	if r.rows == 0 {
		return io.EOF
	}
	r.rows--
	at, err := r.in.ReadByte()
	if err != nil {
		return r.broken(err)
	}
	id, err := r.bytes()
	if err != nil {
		return r.broken(err)
	}
	row, err := r.bytes()
	if err != nil {
		return r.broken(err)
	}
	r.head = kept{id: string(id), side: side(at), row: row}
	return nil
}

func (r *runReader) bytes() ([]byte, error) {
	n, err := binary.ReadUvarint(r.in)
	if err != nil {
		return nil, err
	}
	if n > MaxRow {
		return nil, ErrMalformed
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r.in, b)
	return b, err
}

func (r *runReader) broken(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read run %s: %w", r.name, err)
}

// merging is the heads of runs, the least first.
type merging struct {
	heads []*runReader
	open  []io.Closer
}

// add takes a run, if it has rows.
func (m *merging) add(r *runReader) error {
	err := r.next()
	if err == nil {
		m.heads = append(m.heads, r)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// take gives the least row.
func (m *merging) take() (kept, error) {
	r := m.heads[0]
	k := r.head
	switch err := r.next(); err {
	case nil:
		heap.Fix(m, 0)
	case io.EOF:
		heap.Pop(m)
	default:
		return k, err
	}
	return k, nil
}

func (m *merging) close() {
	for _, c := range m.open {
		_ = c.Close() // read, or given up
	}
}

// Len, Less, Swap, Push and Pop are for package heap.
func (m *merging) Len() int { return len(m.heads) }

// Less is as Len.
func (m *merging) Less(i, k int) bool { return byID(m.heads[i].head, m.heads[k].head) < 0 }

// Swap is as Len.
func (m *merging) Swap(i, k int) { m.heads[i], m.heads[k] = m.heads[k], m.heads[i] }

// Push is as Len.
func (m *merging) Push(r any) { m.heads = append(m.heads, r.(*runReader)) }

// Pop is as Len.
func (m *merging) Pop() any {
	last := m.heads[len(m.heads)-1]
	m.heads = m.heads[:len(m.heads)-1]
	return last
}
