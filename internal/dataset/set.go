package dataset

// Set is the datasets that an installation has, in the order in which they are shown.
type Set []*Dataset

// Get finds a dataset by name; nil if there is none.
func (s Set) Get(name string) *Dataset {
	for _, d := range s {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Names are the names of all.
func (s Set) Names() []string {
	names := make([]string, len(s))
	for i, d := range s {
		names[i] = d.Name
	}
	return names
}
