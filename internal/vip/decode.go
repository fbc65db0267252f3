package vip

import (
	"slices"

	"exportd/internal/vip/wire"
)

// Decoder reads rows from the bytes of google.firestore.v1.Document. Fields of an unexpected type are printed
// as they are exported and never an error; the only error is wire.ErrMalformed. The zero Decoder is ready;
// not safe for concurrent use.
type Decoder struct {
	printer wire.Printer
	buf     []byte
	err     error // of the row being read
}

// Workspace reads a document of Workspaces.
func (d *Decoder) Workspace(doc []byte) (Workspace, error) {
	d.err = nil
	w := Workspace{ChannelIDs: []string{}}
	fields := wire.Document(doc)
	for fields.Next() {
		switch b := fields.Value; string(fields.Key) {
		case "orgId":
			w.OrgID = d.text(b)
		case "name":
			w.Name = d.text(b)
		case "isVip":
			v := d.parse(b)
			w.IsVIP = v.Kind == wire.Bool && v.Num != 0
		case "channelIds":
			w.ChannelIDs = d.list(b)
		}
	}
	d.note(fields.Err())
	w.ID = string(wire.ID(fields.Name))
	return w, d.err
}

// Channel reads a document of Channels.
func (d *Decoder) Channel(doc []byte) (Channel, error) {
	d.err = nil
	c := Channel{WorkspaceIDs: []string{}}
	fields := wire.Document(doc)
	for fields.Next() {
		switch b := fields.Value; string(fields.Key) {
		case "orgId":
			c.OrgID = d.text(b)
		case "name":
			c.Name = d.text(b)
		case "platform":
			c.Platform = d.text(b)
		case "workspaceIds":
			c.WorkspaceIDs = d.list(b)
		}
	}
	d.note(fields.Err())
	c.ID = string(wire.ID(fields.Name))
	return c, d.err
}

// fewLabels are those that a message has where looking through them is quicker than a table.
const fewLabels = 32

// AppendLabels appends the labels by which a query finds a message's document: the distinct, non-empty
// strings of an array. Other values in their place are not labels.
func AppendLabels(dst []string, doc []byte) ([]string, error) {
	from := len(dst)
	var seen map[string]bool // of many: looking through them for each takes their square
	fields := wire.Document(doc)
	for fields.Next() {
		if string(fields.Key) != "labels" {
			continue
		}
		v, err := wire.Parse(fields.Value)
		if err != nil {
			return dst, err
		}
		if v.Kind != wire.Array {
			continue
		}
		items := wire.Elements(v)
		for items.Next() {
			label, err := wire.Parse(items.Value)
			if err != nil {
				return dst, err
			}
			if label.Kind != wire.String || len(label.Data) == 0 || seen[string(label.Data)] {
				continue
			}
			if seen == nil && slices.Contains(dst[from:], string(label.Data)) {
				continue
			}
			dst = append(dst, string(label.Data))
			switch few := len(dst) - from; {
			case seen != nil:
				seen[dst[len(dst)-1]] = true
			case few == fewLabels:
				seen = make(map[string]bool, 2*few)
				for _, l := range dst[from:] {
					seen[l] = true
				}
			}
		}
		if err := items.Err(); err != nil {
			return dst, err
		}
	}
	return dst, fields.Err()
}

func (d *Decoder) note(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *Decoder) parse(b []byte) wire.Value {
	v, err := wire.Parse(b)
	d.note(err)
	return v
}

func (d *Decoder) text(b []byte) string {
	return d.print(d.parse(b))
}

func (d *Decoder) print(v wire.Value) string {
	var err error
	d.buf, err = d.printer.Append(d.buf[:0], v)
	d.note(err)
	return string(d.buf)
}

// list is the elements of an array, or the one value that is in its place.
func (d *Decoder) list(b []byte) []string {
	v := d.parse(b)
	list := []string{}
	switch v.Kind {
	case wire.None, wire.Null:
	case wire.Array:
		items := wire.Elements(v)
		for items.Next() {
			list = append(list, d.text(items.Value))
		}
		d.note(items.Err())
	default:
		list = append(list, d.print(v))
	}
	return list
}
