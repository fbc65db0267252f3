package jobstore

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// salvage reads a document into out, a pointer to a struct. Where a field holds something of another type,
// the others are read all the same, and damage names those that were not: a document that cannot be read is
// not the end of whoever looks at it, and its owner can be told.
func salvage(doc *firestore.DocumentSnapshot, out any) (damage string) {
	if doc.DataTo(out) == nil {
		return ""
	}
	v := reflect.ValueOf(out).Elem()
	v.SetZero()
	bad := fill(v, func(name string) (any, error) { return doc.DataAtPath(firestore.FieldPath{name}) }, "")
	if len(bad) == 0 {
		return "a field is of another type"
	}
	bad = slices.DeleteFunc(bad, func(name string) bool { // as if there were none
		field, _, _ := strings.Cut(name, ".")
		return slices.Contains(accounts, field)
	})
	if len(bad) == 0 {
		return ""
	}
	return "of another type: " + strings.Join(bad, ", ")
}

// accounts are fields of jobs.Job and jobs.Part that tell of the work and that nothing goes by: no document
// is damaged by what they hold.
var accounts = []string{"trace", "spent", "under", "told", "readyAt"}

// fill sets the fields of a struct that fit and names the others. Fields are read one by one:
// DocumentSnapshot.Data panics at a value that the client does not know.
func fill(v reflect.Value, field func(name string) (any, error), prefix string) (bad []string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			bad = append(bad, fill(v.Field(i), field, prefix)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("firestore"), ",")
		if name == "-" || name == "" {
			continue
		}
		raw, err := field(name)
		if _, missing := errors.AsType[*firestore.FieldNotFoundError](err); err != nil && !missing {
			bad = append(bad, prefix+name)
		}
		if err != nil || raw == nil {
			continue
		}
		switch inner, isMap := raw.(map[string]any); {
		case isMap && f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[time.Time]():
			bad = append(bad, fill(v.Field(i), within(inner), prefix+name+".")...)
		case isMap && f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct:
			v.Field(i).Set(reflect.New(f.Type.Elem()))
			bad = append(bad, fill(v.Field(i).Elem(), within(inner), prefix+name+".")...)
		case isMap && f.Type == reflect.TypeFor[map[string]int64]():
			counts := make(map[string]int64, len(inner))
			for key, n := range inner {
				if counts[key], isMap = n.(int64); !isMap {
					bad = append(bad, prefix+name+"."+key)
				}
			}
			v.Field(i).Set(reflect.ValueOf(counts))
		case !fits(v.Field(i), raw):
			bad = append(bad, prefix+name)
		}
	}
	return bad
}

// within reads fields of a map.
func within(data map[string]any) func(string) (any, error) {
	return func(name string) (any, error) { return data[name], nil }
}

// fits sets a field to a value of its own type.
func fits(field reflect.Value, raw any) bool {
	v := reflect.ValueOf(raw)
	if field.Kind() == reflect.Uint32 && v.CanInt() && v.Int() >= 0 && v.Int() <= math.MaxUint32 {
		field.SetUint(uint64(v.Int()))
		return true
	}
	if v.Kind() != field.Kind() && !(v.Kind() == reflect.Int64 && field.Kind() == reflect.Int) || !v.CanConvert(field.Type()) || v.Kind() == reflect.Slice {
		return false
	}
	field.Set(v.Convert(field.Type()))
	return true
}

func decodeJob(doc *firestore.DocumentSnapshot) *jobs.Job {
	job := &jobs.Job{}
	job.Damage = salvage(doc, job)
	job.ID = doc.Ref.ID
	job.Upgrade()
	job.DropDamagedTrace()
	if raw, _ := doc.DataAt("shard"); raw == nil {
		job.Shard = -1 // in none, not in the first: a transition that changes nothing else mends it
	}
	if job.CreatedAt.IsZero() {
		if job.Damage == "" {
			job.Damage = "createdAt is missing"
		}
		job.CreatedAt = doc.CreateTime
	}
	return job
}

func decodePart(doc *firestore.DocumentSnapshot) *jobs.Part {
	p := &jobs.Part{}
	damage := salvage(doc, p)
	p.ID, p.Damage = doc.Ref.ID, damage
	p.Upgrade()
	return p
}

// readCallback is decodeCallback for who is to change it.
func (s *Store) readCallback(doc *firestore.DocumentSnapshot) *jobs.Callback {
	cb := decodeCallback(doc)
	if err := cb.Check(s.cfg.Now()); err != nil && jobs.Readable(cb.Schema) {
		s.damaged(telemetry.CallbackDocument, doc, err.Error())
	}
	return cb
}

func decodeCallback(doc *firestore.DocumentSnapshot) *jobs.Callback {
	cb := &jobs.Callback{}
	damage := salvage(doc, cb)
	cb.ID, cb.Damage = doc.Ref.ID, damage
	cb.Upgrade()
	return cb
}

// damaged tells of a document that makes no sense.
func (s *Store) damaged(kind telemetry.DocumentKind, doc *firestore.DocumentSnapshot, why string) {
	s.cfg.Damage.Note(kind, relative(doc.Ref), doc.UpdateTime, why)
}

// relative is a document's path in the database.
func relative(ref *firestore.DocumentRef) string {
	if _, path, ok := strings.Cut(ref.Path, "/documents/"); ok {
		return path
	}
	return ref.Path
}

// shownJob reads a job for those who only look.
func (s *Store) shownJob(doc *firestore.DocumentSnapshot) *jobs.Job {
	job := s.readJob(doc)
	return s.shown(job)
}

// readJob is decodeJob for who is to change the job.
func (s *Store) readJob(doc *firestore.DocumentSnapshot) *jobs.Job {
	job := decodeJob(doc)
	if err := job.Check(s.cfg.Now()); err != nil && s.shown(job) != job { // else another build's
		s.damaged(telemetry.JobDocument, doc, err.Error())
	}
	return job
}

// shown is a job as readers get it: one whose document makes no sense as what it is about to be ended as, so
// that nobody who only reads has to know of such.
func (s *Store) shown(job *jobs.Job) *jobs.Job {
	again := *job
	tx := jobs.NewTx(s.cfg.Policy, s.cfg.Now(), "", &again, nil)
	if tx.Invalidate() != nil {
		return job
	}
	return &again
}

// shownCallback is shownJob for a delivery.
func (s *Store) shownCallback(doc *firestore.DocumentSnapshot) *jobs.Callback {
	cb := decodeCallback(doc)
	why := cb.Check(s.cfg.Now())
	again := *cb
	tx := &jobs.CallbackTx{Policy: s.cfg.Policy, Now: s.cfg.Now().UTC().Truncate(time.Microsecond), Callback: &again}
	if tx.Invalidate() != nil {
		return cb
	}
	if why != nil {
		s.damaged(telemetry.CallbackDocument, doc, why.Error())
	}
	return &again
}

// maxNote bounds the texts of notes: reasons, actors.
const maxNote = 1000

func clip(s string) string { return s[:min(len(s), maxNote)] }
