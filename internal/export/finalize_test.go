package export_test

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/export"
	"exportd/jobs"
)

// inParts writes docs in parts of size rows, as workers do, and gives the records of the parts.
func (r *rig) inParts(t *testing.T, j *jobs.Job, docs [][]byte, size int) []*jobs.Part {
	t.Helper()
	var parts []*jobs.Part
	j.RowsTotal = int64(len(docs))
	for piece := range slices.Chunk(docs, size) {
		p := &jobs.Part{Index: len(parts), PlanEpoch: 1, Rows: int64(len(piece)), State: jobs.PartDone}
		r.source.docs = piece
		got, err := r.Write(t.Context(), export.Spec{Job: j, Object: p.ObjectName(j, "t"), Rows: p.Rows, Header: p.Index == 0}, new(export.Progress))
		if err != nil {
			t.Fatal(err)
		}
		p.Object, p.Size, p.CRC32C, p.Guarded = got.Object, got.Size, got.CRC32C, got.Guarded
		p.GuardedBy, p.Plain, p.Digest = got.GuardedBy, got.Plain, got.Digest
		parts = append(parts, p)
	}
	j.PartsTotal, j.PartsDone = len(parts), len(parts)
	return parts
}

// TestCompose: in one part, in a few and in more than a tree of one level holds, the file is the same.
func TestCompose(t *testing.T) {
	t.Parallel()
	docs := users(t, 330, 20)
	r := newRig(t, &source{}, export.Config{})
	var want []byte
	for _, size := range []int{330, 100, 1} {
		j := newJob()
		parts := r.inParts(t, j, docs, size)
		for range 2 { // the second time after a crash
			res, _, err := r.Compose(t.Context(), j, parts, j.ObjectPrefix()+"1/result.csv")
			if err != nil {
				t.Fatalf("%d parts: %v", len(parts), err)
			}
			file := r.read(t, res.Object)
			if want == nil {
				want = file
			}
			if !bytes.Equal(file, want) || res.Size != int64(len(file)) || res.Rows != 330 {
				t.Errorf("%d parts: %d bytes, %+v; want the %d bytes of one part", len(parts), len(file), res, len(want))
			}
		}
		if got := r.names(t, j); len(got) != len(parts)+1 {
			t.Errorf("%d parts: %d objects are there, want the parts and the result", len(parts), len(got))
		}
	}
}

// TestGuardedByColumn: the columns of nasty rows are told apart, whatever the number of parts, and add up to
// what the job says; where a part is not known by columns, nor is the file.
func TestGuardedByColumn(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 7))
	var docs [][]byte
	want, total := map[string]int64{}, int64(0)
	for i := range 300 {
		id, fields := "-"+strconv.Itoa(i), csvrowtest.RandomFields(random, []string{"=1+1", "@x", "safe"})
		docs = append(docs, csvrowtest.Document("projects/p/databases/d/documents/VipUsers/"+id, fields))
		for name, n := range csvrowtest.GuardedBy("vip-users", id, fields, nil, nil) {
			want[name] += n
			total += n
		}
	}
	if len(want) < 10 || want["id"] != 300 {
		t.Fatalf("the rows have guarded cells in %v", want)
	}
	r := newRig(t, &source{}, export.Config{})
	for _, size := range []int{300, 70} {
		j := newJob()
		parts := r.inParts(t, j, docs, size)
		compose := func() (by map[string]int64, known bool) {
			res, _, err := r.Compose(t.Context(), j, parts, j.ObjectPrefix()+"1/result.csv")
			if err != nil || res.GuardedCells != total {
				t.Fatalf("%d parts: %+v, %v; want %d cells", len(parts), res, err, total)
			}
			return res.GuardedBy.Of(res.Object, res.GuardedCells)
		}
		if got, known := compose(); !known || !maps.Equal(got, want) {
			t.Errorf("%d parts: guarded are %v, %t; want %v", len(parts), got, known, want)
		}
		last := parts[len(parts)-1]
		for what, by := range map[string]*jobs.GuardedBy{
			"nothing": nil, "another object": {Object: last.Object + "x", Columns: last.GuardedBy.Columns}, "fewer cells": {Object: last.Object, Columns: map[string]int64{"id": 1}},
		} {
			last.GuardedBy = by
			if got, known := compose(); known || got != nil {
				t.Errorf("%d parts, of the last of which %s is known: guarded are %v, %t", len(parts), what, got, known)
			}
		}
	}
}

// TestComposeRefuses: parts that do not prove the whole make no file.
func TestComposeRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, &source{}, export.Config{MaxBytes: 10_000})
	for name, c := range map[string]struct {
		spoil func(j *jobs.Job, parts []*jobs.Part) []*jobs.Part
		code  jobs.Code
		class jobs.Class
	}{
		"a part is not done":       {func(_ *jobs.Job, p []*jobs.Part) []*jobs.Part { p[1].State = jobs.PartRunning; return p }, jobs.CodeInvalidJob, jobs.Stale},
		"a part is missing":        {func(_ *jobs.Job, p []*jobs.Part) []*jobs.Part { return p[:2] }, jobs.CodeInvalidJob, jobs.Stale},
		"parts in another order":   {func(_ *jobs.Job, p []*jobs.Part) []*jobs.Part { slices.Reverse(p); return p }, jobs.CodeInvalidJob, jobs.Stale},
		"a row less than counted":  {func(j *jobs.Job, p []*jobs.Part) []*jobs.Part { j.RowsTotal++; return p }, jobs.CodeCountMismatch, jobs.Permanent},
		"an object is gone":        {func(_ *jobs.Job, p []*jobs.Part) []*jobs.Part { p[2].Object += "x"; return p }, jobs.CodePartsMissing, jobs.Stale},
		"an object of other bytes": {func(_ *jobs.Job, p []*jobs.Part) []*jobs.Part { p[1].CRC32C++; return p }, jobs.CodeStorageCorrupt, jobs.Transient},
		"more bytes than allowed":  {func(_ *jobs.Job, p []*jobs.Part) []*jobs.Part { p[1].Size = 1 << 20; return p }, jobs.CodeTooManyBytes, jobs.Permanent},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob()
			parts := c.spoil(j, r.inParts(t, j, users(t, 30, 20), 10))
			_, _, err := r.Compose(t.Context(), j, parts, j.ObjectPrefix()+"1/result.csv")
			var f *jobs.Failure
			if !errors.As(err, &f) || f.Code != c.code || f.Class != c.class {
				t.Errorf("Compose() = %v, want %s of class %d", err, c.code, c.class)
			}
			if slices.Contains(r.names(t, j), "1/result.csv") {
				t.Error("it made a file")
			}
		})
	}
}

// TestSweep: what an ended job left goes, the result of a success and a rerun's objects stay.
func TestSweep(t *testing.T) {
	t.Parallel()
	r := newRig(t, &source{docs: users(t, 1, 5)}, export.Config{})
	for _, c := range []struct {
		state jobs.State
		want  []string
	}{
		{jobs.Succeeded, []string{"2/result.csv", "3/part.csv"}},
		{jobs.Failed, []string{"3/part.csv"}},
		{jobs.Canceled, []string{"3/part.csv"}},
	} {
		j := newJob()
		for _, name := range []string{"1/part.csv", "2/part.csv", "2/result.csv", "3/part.csv"} {
			if _, err := r.Write(t.Context(), export.Spec{Job: j, Object: j.ObjectPrefix() + name, Rows: 1}, new(export.Progress)); err != nil {
				t.Fatal(err)
			}
		}
		j.State, j.Epoch, j.Result.Object = c.state, 2, j.ObjectPrefix()+"2/result.csv"
		deleted, err := r.Sweep(t.Context(), j)
		if got := r.names(t, j); err != nil || !slices.Equal(got, c.want) || deleted != 4-len(c.want) {
			t.Errorf("Sweep() of a job that is %s = %d, %v and leaves %v; want %v", c.state, deleted, err, got, c.want)
		}
		j.SweptEpoch = j.Epoch // then what can be there is known
		want := c.want
		if c.state == jobs.Succeeded {
			want = c.want[:1:1]
		}
		if _, err := r.Write(t.Context(), export.Spec{Job: j, Object: j.Result.Object, Rows: 1}, new(export.Progress)); err != nil && c.state != jobs.Succeeded {
			t.Fatal(err)
		}
		_, err = r.Sweep(t.Context(), j)
		if got := r.names(t, j); err != nil || c.state == jobs.Succeeded && !slices.Contains(got, want[0]) || c.state != jobs.Succeeded && !slices.Equal(got, want) {
			t.Errorf("Sweep() of a job that is %s and swept = %v and leaves %v", c.state, err, got)
		}
		if err := r.Discard(t.Context(), j.ObjectPrefix()+"1/part.csv", j.ObjectPrefix()+"3/part.csv"); err != nil {
			t.Errorf("Discard() of an object that is gone and one that is there = %v", err)
		}
	}
}
