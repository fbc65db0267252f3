//go:build !race

package jobs_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"exportd/jobs"
)

// Documents and sets of the model are immutable and interned, so that pointers compare as contents do. That a
// document was written and has the same content as before does not count as a change; whoever commits on it
// did see its present content.

type jobDoc struct {
	jobs.Job
	id int
}

type partDoc struct {
	jobs.Part
	id int
}

type partSet struct{ docs []*partDoc }

func (s *partSet) get(id string) *partDoc {
	for _, p := range s.docs {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// object is a file in storage; content lists the parts whose rows it has, in order.
type object struct{ name, content string }

type objectSet struct{ all []object }

func (s *objectSet) get(name string) (string, bool) {
	for _, o := range s.all {
		if o.name == name {
			return o.content, true
		}
	}
	return "", false
}

// message names a part, or the job when plan is 0.
type message struct {
	present bool
	plan    int64
	part    int
}

func (a message) less(b message) bool {
	return a.plan < b.plan || a.plan == b.plan && (a.part < b.part || a.part == b.part && !a.present && b.present)
}

type bag struct{ all []message }

type list struct {
	names   []string
	indexes []int
}

type interner struct {
	jobs    map[string]*jobDoc
	parts   map[string]*partDoc
	sets    map[string]*partSet
	objects map[string]*objectSet
	bags    map[string]*bag
	lists   map[string]*list
	batches map[string]*batchDoc
}

func newInterner() interner {
	return interner{map[string]*jobDoc{}, map[string]*partDoc{}, map[string]*partSet{}, map[string]*objectSet{}, map[string]*bag{}, map[string]*list{}, map[string]*batchDoc{}}
}

func intern[T any](m map[string]*T, key string, v func() *T) *T {
	if got, ok := m[key]; ok {
		return got
	}
	made := v()
	m[key] = made
	return made
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (in *interner) job(j jobs.Job) *jobDoc {
	return intern(in.jobs, encode(j), func() *jobDoc { return &jobDoc{j, len(in.jobs)} })
}

func (in *interner) part(p jobs.Part) *partDoc {
	return intern(in.parts, encode(p), func() *partDoc { return &partDoc{p, len(in.parts)} })
}

func (in *interner) partSet(docs []*partDoc) *partSet {
	slices.SortFunc(docs, func(a, b *partDoc) int { return strings.Compare(a.ID, b.ID) })
	var key strings.Builder
	for _, p := range docs {
		key.WriteString(strconv.Itoa(p.id))
		key.WriteByte(' ')
	}
	return intern(in.sets, key.String(), func() *partSet { return &partSet{docs} })
}

// with gives the set with p in the place of the part of its id.
func (in *interner) with(s *partSet, p *partDoc) *partSet {
	docs := slices.DeleteFunc(slices.Clone(s.docs), func(q *partDoc) bool { return q.ID == p.ID })
	return in.partSet(append(docs, p))
}

func (in *interner) objectSet(all []object) *objectSet {
	slices.SortFunc(all, func(a, b object) int { return strings.Compare(a.name, b.name) })
	var key strings.Builder
	for _, o := range all {
		key.WriteString(o.name + "=" + o.content + " ")
	}
	return intern(in.objects, key.String(), func() *objectSet { return &objectSet{all} })
}

func (in *interner) create(s *objectSet, name, content string) *objectSet {
	return in.objectSet(append(slices.Clone(s.all), object{name, content}))
}

func (in *interner) delete(s *objectSet, names ...string) *objectSet {
	return in.objectSet(slices.DeleteFunc(slices.Clone(s.all), func(o object) bool { return slices.Contains(names, o.name) }))
}

func (in *interner) bag(all []message) *bag {
	slices.SortFunc(all, func(a, b message) int {
		switch {
		case a.less(b):
			return -1
		case b.less(a):
			return 1
		}
		return 0
	})
	return intern(in.bags, encode2(all), func() *bag { return &bag{all} })
}

func encode2(all []message) string {
	var key strings.Builder
	for _, m := range all {
		key.WriteString(strconv.FormatInt(m.plan, 10) + "." + strconv.Itoa(m.part) + " ")
	}
	return key.String()
}

// publish puts messages in the bag. More than two of a kind are as two.
func (in *interner) publish(b *bag, msgs ...message) *bag {
	all := slices.Clone(b.all)
	for _, msg := range msgs {
		msg.present = true
		n := 0
		for _, other := range all {
			if other == msg {
				n++
			}
		}
		if n < 2 {
			all = append(all, msg)
		}
	}
	return in.bag(all)
}

func (in *interner) take(b *bag, i int) *bag {
	return in.bag(slices.Delete(slices.Clone(b.all), i, i+1))
}

func (in *interner) list(l list) *list {
	return intern(in.lists, encode(l.names)+encode(l.indexes), func() *list { return &l })
}
