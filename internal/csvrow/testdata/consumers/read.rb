# As read.mjs, by Ruby's own csv.
require "csv"

_, path, delimiter = ARGV
CSV.foreach(path, "r:bom|utf-8", col_sep: delimiter, row_sep: "\r\n") do |row|
  puts row.map { |cell| cell.nil? ? "-" : cell.unpack1("H*") }.join(",")
end
