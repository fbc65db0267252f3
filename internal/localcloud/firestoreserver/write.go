package firestoreserver

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// maxTransforms per document and commit.
const maxTransforms = 500

// write is a validated Write, ready to be applied by the sequencer.
type write struct {
	path       fsvalue.Path
	remove     bool
	keep       bool // a bare transform: existing fields stay
	fields     map[string]*fsvalue.Value
	mask       *fieldMask // nil overwrites the whole document
	transforms []transform
	condition  *firestorepb.Precondition
	prepared   *fsstore.Prepared // stored form, when the write alone decides it
}

// parseWrite checks one write as far as that needs no stored state.
func (s *Server) parseWrite(db database, w *firestorepb.Write) (*write, error) {
	out := &write{condition: w.GetCurrentDocument()}
	var transforms []*firestorepb.DocumentTransform_FieldTransform
	var err error
	switch op := w.GetOperation().(type) {
	case *firestorepb.Write_Update:
		out.path, err = db.document(op.Update.GetName())
		out.fields, transforms = op.Update.GetFields(), w.GetUpdateTransforms()
	case *firestorepb.Write_Delete:
		out.path, err = db.document(op.Delete)
		out.remove = true
	case *firestorepb.Write_Transform:
		out.path, err = db.document(op.Transform.GetDocument())
		out.keep, transforms = true, op.Transform.GetFieldTransforms()
	default:
		return nil, invalid("A write must have an operation.")
	}
	if err != nil {
		return nil, err
	}
	if out.remove {
		return out, nil
	}
	if w.GetUpdateMask() != nil {
		if out.mask, err = parseMask(w.GetUpdateMask()); err != nil {
			return nil, err
		}
		for _, p := range out.mask.paths {
			if p[0] == fsvalue.NameField {
				return nil, invalid("The name %s cannot be in an update mask.", fsvalue.NameField)
			}
		}
	}
	if out.transforms, err = parseTransforms(transforms); err != nil {
		return nil, err
	}
	if err := fsvalue.PrepareDocument(out.path, out.fields); err != nil {
		return nil, err
	}
	if out.mask == nil && !out.keep && len(out.transforms) == 0 {
		out.prepared, err = s.store.Prepare(db.id, out.path, out.fields)
	}
	return out, err
}

// apply performs the write inside a commit and returns its result.
func (w *write) apply(a *fsstore.Applier) (*firestorepb.WriteResult, error) {
	current, err := a.Get(w.path)
	if err != nil {
		return nil, err
	}
	if err := w.check(current); err != nil {
		return nil, err
	}
	if w.remove {
		return &firestorepb.WriteResult{}, a.Delete(w.path)
	}
	if w.prepared != nil {
		at, err := a.Put(w.path, &fsstore.State{Prepared: w.prepared}, false)
		return &firestorepb.WriteResult{UpdateTime: timestamp(at)}, err
	}
	fields, err := w.mergedFields(current)
	if err != nil {
		return nil, err
	}
	res := &firestorepb.WriteResult{}
	forced := false
	for i := range w.transforms {
		t := &w.transforms[i]
		res.TransformResults = append(res.TransformResults, t.apply(fields, a.Instant()))
		forced = forced || t.now
	}
	if err := fsvalue.PrepareDocument(w.path, fields); err != nil {
		return nil, err
	}
	at, err := a.Put(w.path, &fsstore.State{Fields: fields}, forced)
	res.UpdateTime = timestamp(at)
	return res, err
}

// check tests the precondition against the state left by earlier writes.
func (w *write) check(current *fsstore.State) error {
	switch c := w.condition.GetConditionType().(type) {
	case *firestorepb.Precondition_Exists:
		if c.Exists && current == nil {
			return status.Errorf(codes.NotFound, "No document to update: %s", w.path)
		}
		if !c.Exists && current != nil {
			return status.Errorf(codes.AlreadyExists, "Document already exists: %s", w.path)
		}
	case *firestorepb.Precondition_UpdateTime:
		var stored int64
		if current != nil {
			stored = current.Update
		}
		if want := micros(c.UpdateTime); stored != want {
			return status.Errorf(codes.FailedPrecondition,
				"the stored version (%d) does not match the required base version (%d)", stored, want)
		}
	}
	return nil
}

// mergedFields returns the fields that result before transforms.
func (w *write) mergedFields(current *fsstore.State) (map[string]*fsvalue.Value, error) {
	if w.mask == nil && !w.keep {
		// Copied, since a commit that is tried again applies the write again.
		fields := make(map[string]*fsvalue.Value, len(w.fields))
		for k, v := range w.fields {
			fields[k] = cloneValue(v)
		}
		return fields, nil
	}
	fields := map[string]*fsvalue.Value{}
	if current != nil {
		content, err := current.Content()
		if err != nil {
			return nil, err
		}
		if content != nil {
			fields = content
		}
	}
	if w.keep {
		return fields, nil
	}
	for _, p := range w.mask.paths {
		if v, ok := p.Get(w.fields); ok {
			setField(fields, p, cloneValue(v))
		} else {
			deleteField(fields, p)
		}
	}
	return fields, nil
}

func cloneValue(v *fsvalue.Value) *fsvalue.Value { return proto.CloneOf(v) }

// setField puts v at p, making maps on the way and replacing what is not one.
func setField(fields map[string]*fsvalue.Value, p fsvalue.FieldPath, v *fsvalue.Value) {
	for _, seg := range p[:len(p)-1] {
		m := fields[seg].GetMapValue()
		if m == nil {
			m = &firestorepb.MapValue{}
			fields[seg] = &fsvalue.Value{ValueType: &firestorepb.Value_MapValue{MapValue: m}}
		}
		if m.Fields == nil {
			m.Fields = map[string]*fsvalue.Value{}
		}
		fields = m.Fields
	}
	fields[p[len(p)-1]] = v
}

// deleteField removes the field at p; its parents stay.
func deleteField(fields map[string]*fsvalue.Value, p fsvalue.FieldPath) {
	for _, seg := range p[:len(p)-1] {
		m := fields[seg].GetMapValue()
		if m == nil {
			return
		}
		fields = m.GetFields()
	}
	delete(fields, p[len(p)-1])
}
