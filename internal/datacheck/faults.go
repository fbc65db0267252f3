package datacheck

import (
	"slices"
	"strings"
	"time"

	"exportd/internal/dataset"
	"exportd/internal/vip/wire"
)

// The fields that say when a VIP user has birthday. Filters go by the flags, and files have the birthday.
const (
	birthday      = "personalInfo.birthday"
	hasBirthday   = "hasBirthday"
	birthdayMonth = "birthdayMonth"
)

// faults gathers what is wrong with the documents of a place.
type faults struct {
	d       *dataset.Dataset
	samples int
	all     []*Fault
	due     int64           // documents that counts have told of, and that no walk has met
	seen    int64           // faulty documents that a walk has met
	known   map[string]bool // told by counts
}

func newFaults(d *dataset.Dataset, samples int) *faults {
	return &faults{d: d, samples: samples, known: map[string]bool{}}
}

// birthdays reports whether documents have flags to be compared.
func (f *faults) birthdays() bool {
	return f.d.Name == dataset.VIPUsers.Name
}

// counted notes how many documents counts have told of a fault.
func (f *faults) counted(what string, n int64) {
	f.known[what] = true
	if n > 0 {
		f.of(what).Documents = n
		f.due += n
	}
}

// wantsWalk reports whether documents tell more than counts do.
func (f *faults) wantsWalk() bool { return f.birthdays() || f.due > 0 }

// done reports whether no further document can tell more.
func (f *faults) done() bool { return !f.birthdays() && f.seen >= f.due }

// fields are those that look looks at.
func (f *faults) fields() []string {
	if f.birthdays() {
		return []string{f.d.Sort.Field, hasBirthday, birthdayMonth, birthday}
	}
	return []string{f.d.Sort.Field}
}

// look looks at a document.
func (f *faults) look(id, doc []byte) error {
	sort, err := valueAt(doc, f.d.Sort.Field)
	if err != nil {
		return err
	}
	var found []string
	switch {
	case sort.Kind == wire.None:
		found = append(found, NoSortField)
	case !isOf(sort, f.d.Sort.Type):
		found = append(found, OtherType)
	}
	if f.birthdays() {
		what, err := contradiction(doc)
		if err != nil {
			return err
		}
		if what != "" {
			found = append(found, what)
		}
	}
	if len(found) > 0 {
		f.seen++
	}
	for _, what := range found {
		fault := f.of(what)
		if !f.known[what] {
			fault.Documents++
		}
		if len(fault.Samples) < f.samples {
			fault.Samples = append(fault.Samples, string(id))
		}
	}
	return nil
}

// of is the entry of a fault.
func (f *faults) of(what string) *Fault {
	for _, fault := range f.all {
		if fault.What == what {
			return fault
		}
	}
	field := f.d.Sort.Field
	switch what {
	case FlagOnly, BirthdayOnly:
		field = hasBirthday
	case OtherMonth:
		field = birthdayMonth
	case NoDate:
		field = birthday
	}
	f.all = append(f.all, &Fault{What: what, Field: field, Samples: []string{}})
	return f.all[len(f.all)-1]
}

func (f *faults) list() (out []Fault) {
	for _, fault := range f.all {
		if fault.Documents > 0 {
			out = append(out, *fault)
		}
	}
	slices.SortFunc(out, func(a, b Fault) int { return strings.Compare(a.What, b.What) })
	return out
}

// isOf reports whether a value is of the type by which rows are sorted.
func isOf(v wire.Value, t dataset.Type) bool {
	switch t {
	case dataset.Time:
		return v.Kind == wire.Time
	case dataset.Number:
		return v.Kind == wire.Int || v.Kind == wire.Double
	default:
		return v.Kind == wire.String
	}
}

// contradiction says what of a VIP user's flags is not as the birthday is, "" if all is.
func contradiction(doc []byte) (string, error) {
	var values [3]wire.Value
	for i, path := range []string{birthday, hasBirthday, birthdayMonth} {
		v, err := valueAt(doc, path)
		if err != nil {
			return "", err
		}
		values[i] = v
	}
	flag := values[1].Kind == wire.Bool && values[1].Num != 0
	if values[0].Kind == wire.None || values[0].Kind == wire.Null || values[0].Kind == wire.String && len(values[0].Data) == 0 {
		switch {
		case flag:
			return FlagOnly, nil
		case values[2].Kind != wire.None && values[2].Kind != wire.Null:
			return OtherMonth, nil
		}
		return "", nil
	}
	day, err := time.Parse(time.DateOnly, string(values[0].Data))
	switch month := values[2]; {
	case values[0].Kind != wire.String || err != nil:
		return NoDate, nil
	case !flag:
		return BirthdayOnly, nil
	case month.Kind != wire.Int || int64(month.Num) != int64(day.Month()):
		return OtherMonth, nil
	}
	return "", nil
}

// valueAt is the value of a field, as Firestore's paths name it.
func valueAt(doc []byte, path string) (wire.Value, error) {
	walk := wire.Document(doc)
	for segments := strings.Split(path, "."); ; segments = segments[1:] {
		var at []byte
		for walk.Next() {
			if string(walk.Key) == segments[0] {
				at = walk.Value
			}
		}
		if err := walk.Err(); err != nil || at == nil {
			return wire.Value{}, err
		}
		v, err := wire.Parse(at)
		if err != nil || len(segments) == 1 {
			return v, err
		}
		if v.Kind != wire.Map {
			return wire.Value{}, nil
		}
		walk = wire.MapFields(v)
	}
}
