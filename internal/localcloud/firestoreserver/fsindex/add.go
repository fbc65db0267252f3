package fsindex

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// AddTo returns a firestore.indexes.json that has the index besides. What else is in it stays, as does the
// TTL of a field whose override is replaced.
func (e *MissingError) AddTo(file []byte) ([]byte, error) {
	var f struct {
		Indexes        []json.RawMessage `json:"indexes"`
		FieldOverrides []json.RawMessage `json:"fieldOverrides"`
	}
	if len(bytes.TrimSpace(file)) > 0 {
		if err := decodeStrictly(file, &f); err != nil {
			return nil, fmt.Errorf("read index configuration: %w", err)
		}
	}
	if f.Indexes == nil {
		f.Indexes = []json.RawMessage{}
	}
	if f.FieldOverrides == nil {
		f.FieldOverrides = []json.RawMessage{}
	}
	entry := json.RawMessage(e.Definition())
	if !e.Exemption {
		f.Indexes = append(f.Indexes, entry)
	} else if err := replaceOverride(&f.FieldOverrides, entry); err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(f, "", "  ")
	return append(out, '\n'), err
}

func replaceOverride(list *[]json.RawMessage, entry json.RawMessage) error {
	var o fileOverride
	if err := json.Unmarshal(entry, &o); err != nil {
		return fmt.Errorf("read override: %w", err)
	}
	for i, raw := range *list {
		var old fileOverride
		if err := json.Unmarshal(raw, &old); err != nil {
			return fmt.Errorf("read override: %w", err)
		}
		if old.CollectionGroup != o.CollectionGroup || old.FieldPath != o.FieldPath {
			continue
		}
		o.TTL = old.TTL
		for _, ix := range old.Indexes { // learned before for another query
			if !slices.Contains(o.Indexes, ix) {
				o.Indexes = append(o.Indexes, ix)
			}
		}
		whole, err := json.Marshal(o)
		(*list)[i] = whole
		return err
	}
	*list = append(*list, entry)
	return nil
}
