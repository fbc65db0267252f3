// Package fields keeps a server of a gRPC service honest: of each field of each message that it reads a table
// says whether it is honoured or refused, and a test that nothing is left undecided, also when the API's next
// version has more fields.
package fields

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Use is what becomes of a field.
type Use uint8

const (
	// Refused: a request that sets it gets UNIMPLEMENTED. So does one with a field that the table does not
	// have.
	Refused Use = iota
	// Honoured, and its own fields are looked at.
	Honoured
	// Whole is honoured, and what is in it is checked by who reads it.
	Whole
	// Answer is set by the service only: as in production, nobody looks at what a caller sends.
	Answer
	// Ignored is left out of what the server reads. No table has it but in a test of a test, which must
	// notice.
	Ignored
)

// Table has a line for each field, by the full name of its message and its own.
type Table map[protoreflect.FullName]Use

// Lines adds the fields of a message.
func (t Table) Lines(message protoreflect.FullName, use Use, names ...protoreflect.Name) {
	for _, name := range names {
		t[message.Append(name)] = use
	}
}

// Check refuses a message that sets what is not served, at any depth. server names who refuses.
func (t Table) Check(m proto.Message, server string) error {
	return t.check(m.ProtoReflect(), server)
}

func (t Table) check(m protoreflect.Message, server string) (err error) {
	if len(m.GetUnknown()) > 0 {
		return status.Errorf(codes.Unimplemented, "a field of %s that %s does not know", m.Descriptor().FullName(), server)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch t[f.FullName()] {
		case Refused:
			err = status.Errorf(codes.Unimplemented, "%s: not supported by %s", f.FullName(), server)
		case Honoured:
			err = t.inner(f, v, server)
		case Ignored:
			m.Clear(f)
		}
		return err == nil
	})
	return err
}

func (t Table) inner(f protoreflect.FieldDescriptor, v protoreflect.Value, server string) error {
	if f.IsMap() || f.Message() == nil {
		return nil
	}
	if !f.IsList() {
		return t.check(v.Message(), server)
	}
	for i := range v.List().Len() {
		if err := t.check(v.List().Get(i).Message(), server); err != nil {
			return err
		}
	}
	return nil
}

// Undecided lists the fields that a service may get in a request and that have no line, sorted. unserved are
// methods whose requests nobody reads.
func (t Table) Undecided(service protoreflect.ServiceDescriptor, unserved []string) (out []string) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			use, ok := t[f.FullName()]
			if !ok {
				out = append(out, string(f.FullName()))
			}
			if ok && use == Honoured && f.Message() != nil && !f.IsMap() {
				walk(f.Message())
			}
		}
	}
	for i := range service.Methods().Len() {
		if m := service.Methods().Get(i); !slices.Contains(unserved, string(m.Name())) {
			walk(m.Input())
		}
	}
	slices.Sort(out)
	return out
}
