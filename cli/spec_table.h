// A GPU as a table of labelled figures, the form in which task documents describe one, and the same figures as JSON.
#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/device.h"
#include "output.h"

namespace cumulus::cli {

// A text is not what it should be: what() begins with the place ("line 12", "key sms"), and names value, rule and way out.
struct FormatError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// One figure of the table. Figures are numbers in the unit that the table shows.
struct SpecField {
  const char* key;    // in JSON
  const char* label;  // in the table; null: in JSON only
  const char* unit;   // behind the number in the table; "" if there is none
  double least, most;
  bool whole;   // an integer
  bool needed;  // nothing else tells it
  double (*get)(const cuda::DeviceInfo&);
  void (*set)(cuda::DeviceInfo&, double);  // null: follows from the others, and has to agree with them
};

std::span<const SpecField> spec_fields();

// A figure somebody gave, and where ("line 12").
struct SpecFigure {
  const SpecField* field;
  double value;
  std::string where;
};

// A line "Label: value" of a table; no field where the label is none of the table's. Throws FormatError for a value that is no number
// with the label's unit.
SpecFigure read_spec_line(std::string_view label, std::string_view value, const std::string& where);

// The GPU that the figures describe; what they leave out is what its compute capability fixes, and else 0. `where` is the place of the
// whole. Throws FormatError.
cuda::DeviceInfo device_of(const std::string& name, const std::vector<SpecFigure>& figures, const std::string& where);

std::string spec_table(const std::string& name, const cuda::DeviceInfo& device);
Json spec_json(const cuda::DeviceInfo& device, const std::string& source);

// "memory bandwidth 900 GB/s, here 1008 GB/s": in which of the table's figures two descriptions differ.
std::vector<std::string> differences(const cuda::DeviceInfo& theirs, const cuda::DeviceInfo& ours);

}  // namespace cumulus::cli
